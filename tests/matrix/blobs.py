"""Rights on blobs: GET pull, DELETE delete alone."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "getBlob":            Row(401, 401, 200, 200, 401, 401, 200, 401, 401, 401, 200, 401, 401, 200),
    "deleteBlob":         Row(401, 401, 401, 401, 401, 202, 202, 401, 401, 401, 202, 401, 401, 202),
}
# fmt: on
