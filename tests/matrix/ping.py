"""`/` and `/v2/`: the first says nothing and is open, the second is where clients learn how to log in."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "root":               Row(200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200, 200),
    "ping":               Row(401, 200, 200, 200, 200, 200, 200, 200, 401, 401, 200, 401, 401, 200),
}
# fmt: on
