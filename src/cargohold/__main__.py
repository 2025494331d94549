"""`python -m cargohold` is the program `cargohold`."""

from __future__ import annotations

from cargohold.cli import main

if __name__ == "__main__":
    main()
