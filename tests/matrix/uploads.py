"""Uploads: all of it is pushing, also asking where one stands and giving it up. The upload of a cell was opened by the same person."""

from __future__ import annotations

from tests.matrix.row import Row

# Columns stand below their names.
# fmt: off
ROWS = {
    #                        anon other pull push ponly del  every catlg expir forgd user wrong stran open
    "startUpload":        Row(401, 401, 401, 202, 401, 401, 202, 401, 401, 401, 202, 401, 401, 202),
    "getUpload":          Row(401, 401, 401, 204, 401, 401, 204, 401, 401, 401, 204, 401, 401, 204),
    "appendUpload":       Row(401, 401, 401, 202, 401, 401, 202, 401, 401, 401, 202, 401, 401, 202),
    "finishUpload":       Row(401, 401, 401, 201, 401, 401, 201, 401, 401, 401, 201, 401, 401, 201),
    "cancelUpload":       Row(401, 401, 401, 204, 401, 401, 204, 401, 401, 401, 204, 401, 401, 204),
}
# fmt: on
