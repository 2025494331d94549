"""The rows of the bench, by family; `ALL` is their order in the run.

A row's function takes the stage and gives a `Series`. It checks one full body per server before the clock starts, and
raises `Missing` when a program it needs is not installed: the row is then printed as not run.
"""

from __future__ import annotations

from bench.rows import conditions, engines, pushes, reads, uploads
from bench.rows.row import Row

__all__ = ["ALL", "Row"]

ALL: tuple[Row, ...] = (*reads.ROWS, *pushes.ROWS, *uploads.ROWS, *conditions.ROWS, *engines.ROWS)
