"""Rights on the catalog: an action of its own, `registry:catalog:*`."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "listRepositories":   Row(401, 401, 401, 401, 401, 401, 401, 200, 401, 401, 200, 401, 401, 200),
}
# fmt: on
