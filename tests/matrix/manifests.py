"""Rights on manifests: GET pull, PUT pull and push, DELETE delete alone."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "getManifest":        Row(401, 401, 200, 200, 401, 401, 200, 401, 401, 401, 200, 401, 401, 200),
    "putManifest":        Row(401, 401, 401, 201, 401, 401, 201, 401, 401, 401, 201, 401, 401, 201),
    "deleteManifest":     Row(401, 401, 401, 401, 401, 202, 202, 401, 401, 401, 202, 401, 401, 202),
}
# fmt: on
