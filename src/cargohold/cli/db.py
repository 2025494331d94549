"""`cargohold db`: what revision the database is at, bring it up to date, make it again from what is stored.

`serve` upgrades by itself; these commands are for those who want it at a time of their own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cargohold.cli.refusal import FAILED, REFUSED, refuse, start_explained
from cargohold.cli.registry import CONFIG, load_settings, settings_flags

if TYPE_CHECKING:
    from cargohold.config.load import Loaded

OUTPUT = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the answer.")


@click.group()
def db() -> None:
    """Look after the database: SQLite in the data folder, or the PostgreSQL of database.url."""


@db.command()
@CONFIG
@settings_flags("--root")
@OUTPUT
def current(config: Path | None, output: str, **flags: str | None) -> None:
    """Print the revision the database is at; none when there is no schema yet."""
    from cargohold.db import migrate

    loaded = stored(config, flags)
    with start_explained(FAILED):
        found = migrate.current(loaded.settings.database, Path(loaded.settings.storage.rootdirectory))
    click.echo(json.dumps({"revision": found, "newest": migrate.HEAD}) if output == "json" else found or "none")


@db.command()
@CONFIG
@settings_flags("--root")
@OUTPUT
def check(config: Path | None, output: str, **flags: str | None) -> None:
    """Say whether revisions are missing. Exit code 1 when some are."""
    from cargohold.db import migrate

    loaded = stored(config, flags)
    with start_explained(FAILED):
        missing = migrate.behind(loaded.settings.database, Path(loaded.settings.storage.rootdirectory))
    if output == "json":
        click.echo(json.dumps({"missing": missing}))
    else:
        click.echo(f"missing: {' '.join(missing)}" if missing else "up to date")
    sys.exit(FAILED if missing else 0)


@db.command()
@CONFIG
@settings_flags("--root")
def upgrade(config: Path | None, **flags: str | None) -> None:
    """Run the revisions that are missing, and print them. Stopped in the middle, it goes on at the next run."""
    from cargohold.db import migrate

    loaded = stored(config, flags)
    with start_explained(FAILED):
        done = migrate.upgrade(loaded.settings.database, Path(loaded.settings.storage.rootdirectory))
    for revision in done:
        click.echo(revision)
    if not done:
        click.echo("cargohold: nothing to do", err=True)


@db.command()
@CONFIG
@settings_flags("--root")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rebuild(config: Path | None, yes: bool, **flags: str | None) -> None:
    """Forget all rows about images and read them again from the folder or bucket. Stop the server first."""
    loaded = stored(config, flags)
    if not yes:
        if not sys.stdin.isatty():
            refuse(["there is nobody to ask; say --yes"])
        click.confirm("Forget all rows about images and read them again?", abort=True, err=True)
    from cargohold.app import rebuild as run

    with start_explained(FAILED):
        sys.exit(run(loaded))


def stored(config: Path | None, flags: dict[str, str | None]) -> Loaded:
    """The settings, when they name a database that outlives the process."""
    loaded = load_settings(config, flags)
    if loaded.settings.storage.driver == "inmemory":
        refuse(["storage.driver is inmemory: there is no database that outlives the server"], REFUSED)
    return loaded
