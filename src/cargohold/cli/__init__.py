"""The command line, one file per command group; a command parses its words, calls one service, and prints.

Modules are imported when their command runs, so that `cargohold --help` starts fast. Data goes to standard output, everything
else to standard error. Exit codes: 0 ok, 1 failure, 2 wrong usage, wrong configuration or a start that was refused.
"""

from __future__ import annotations

from cargohold.cli.groups import cargohold as cargohold
from cargohold.cli.groups import main as main
