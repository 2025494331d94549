"""The command line, one file per command group; a command parses its words, calls one service, and prints.

Modules are imported when their command runs, so that `cargohold --help` starts fast.
"""
