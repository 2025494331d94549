"""`cargohold config`: check a file, show what the settings are and who set them, print the JSON Schema.

Nothing is started and nothing is written. `check` exits with 2 when something is wrong, every cause on its own line.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from cargohold.cli.refusal import REFUSED, explained
from cargohold.cli.registry import CONFIG


@click.group()
def config() -> None:
    """Check, show and describe the settings, from CONFIG.yml, REGISTRY_* and CARGOHOLD_* variables."""


@config.command()
@CONFIG
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Form of the answer.")
def check(config: Path | None, output: str) -> None:
    """Say everything that is wrong, each with its line. Files that the settings name are not opened."""
    from cargohold.config.load import load
    from cargohold.config.origin import ConfigInvalid

    if output == "table":
        with explained():
            notices = load(config, os.environ).notices
        for notice in notices:
            click.echo(f"cargohold: {notice}", err=True)
        click.echo(f"{config or 'The settings'}: good")
        return
    problems: list[str] = []
    notices = ()
    try:
        notices = load(config, os.environ).notices
    except ConfigInvalid as error:
        problems = [str(problem) for problem in error.problems]
    click.echo(json.dumps({"valid": not problems, "problems": problems, "notices": notices}, indent=2))
    sys.exit(REFUSED if problems else 0)


@config.command()
@CONFIG
@click.option("-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", help="Form of the answer.")
def show(config: Path | None, output: str) -> None:
    """Print every setting with its value and where that came from. Secrets are left out."""
    from cargohold.config.document import as_yaml
    from cargohold.config.load import load
    from cargohold.config.shown import shown_settings

    with explained():
        loaded = load(config, os.environ)
    values = shown_settings(loaded.settings)
    if output == "table":
        rows = [(path, json.dumps(value, ensure_ascii=False), str(loaded.origin[path])) for path, value in values.items()]
        first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
        for path, text, origin in rows:
            click.echo(f"{path:{first}}  {text:{min(second, 40)}}  {origin}")
        return
    told = {path: {"value": value, "origin": str(loaded.origin[path])} for path, value in values.items()}
    click.echo(json.dumps(told, indent=2, ensure_ascii=False) if output == "json" else as_yaml(told), nl=output == "json")


@config.command()
def schema() -> None:
    """Print the JSON Schema of CONFIG.yml, for an editor."""
    from cargohold.config.schema import config_schema

    click.echo(json.dumps(config_schema(), indent=2, ensure_ascii=False))
