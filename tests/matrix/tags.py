"""Rights on tag lists: pull on the repository."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "listTags":           Row(401, 401, 200, 200, 401, 401, 200, 401, 401, 401, 200, 401, 401, 200),
}
# fmt: on
