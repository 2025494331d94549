"""Live hashes of uploads on this worker, so that the next piece need not read the earlier ones back.

A state belongs to an upload, an algorithm and an exact number of bytes; whoever finds none reads the staged bytes again
(content/writer.py). `hashlib` states cannot leave the process, so another worker never has them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from cargohold.names import Hasher, UploadId

EMPTY_SHA256 = hashlib.sha256().hexdigest()
_KEPT = 4096


class Hashes:
    """The newest states, at most a few thousand of some hundred bytes each."""

    def __init__(self) -> None:
        self._states: OrderedDict[UploadId, tuple[int, Hasher]] = OrderedDict()

    def keep(self, upload: UploadId, size: int, state: Hasher) -> None:
        self._states[upload] = (size, state)
        self._states.move_to_end(upload)
        while len(self._states) > _KEPT:
            self._states.popitem(last=False)

    def of(self, upload: UploadId, size: int) -> Hasher | None:
        """The state after exactly `size` bytes, a copy of the caller's own."""
        kept = self._states.get(upload)
        return kept[1].copy() if kept is not None and kept[0] == size else None

    def drop(self, upload: UploadId) -> None:
        self._states.pop(upload, None)
