"""Gates: where a policy may refuse what the data plane is about to do.

    before_pull(actor, repository, manifest)     before a manifest is served
    before_push(actor, repository, reference)    before anything is stored (reference is None for blobs)
    after_push(actor, repository, reference)     after the manifest is stored, before the answer
    before_delete(actor, repository, reference)  before anything is unlinked

Each is a list of asynchronous functions, asked in order; a refusal is an exception of the error tree that explains itself.
They are wired in app.py: `read_only` today; immutability, quota, content trust, vulnerabilities and the proxy cache later.
On the embedded engine a gate of `before_pull` must answer without suspending, or the pull leaves the fast path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from cargohold.auth.identity import Actor
from cargohold.errors import Unsupported
from cargohold.names import Digest, Reference, RepoName

PullGate = Callable[[Actor, RepoName, Digest], Awaitable[None]]
PushGate = Callable[[Actor, RepoName, Reference | None], Awaitable[None]]


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    before_pull: Sequence[PullGate] = ()
    before_push: Sequence[PushGate] = ()
    after_push: Sequence[PushGate] = ()
    before_delete: Sequence[PushGate] = ()


async def admit_more(gates: Gates, actor: Actor, repository: RepoName) -> None:
    """May more of a blob come in? Asked at every step of an upload: a registry may have become read-only while it was open."""
    for gate in gates.before_push:
        await gate(actor, repository, None)


async def read_only(actor: Actor, repository: RepoName, reference: Reference | None) -> None:
    raise Unsupported("this registry is read-only", repository=repository)


async def deletes_off(actor: Actor, repository: RepoName, reference: Reference | None) -> None:
    raise Unsupported("deleting is switched off in this registry (storage.delete)", repository=repository)
