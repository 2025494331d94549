"""The root of the command tree: groups by import path, loaded when one of them is named; and `main`.

A refusal that we expect (`ConfigInvalid`, a start that is refused) ends in one line for each cause and exit code 2, never in a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

GROUPS = {
    "config": ("cargohold.cli.config", "Check, show and describe the settings."),
    "db": ("cargohold.cli.db", "Look after the database."),
    "registry": ("cargohold.cli.registry", "Serve and check a plain registry."),
}
"""Name -> module that has a click group of that name, and the line of help, so that the root's help imports none of them."""


class LazyGroup(click.Group):
    """Imports a group when it is named; the list of groups needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(GROUPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in GROUPS:
            return None
        found = getattr(importlib.import_module(GROUPS[cmd_name][0]), cmd_name)
        assert isinstance(found, click.Command), f"{cmd_name} is a click group"
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, GROUPS[name][1]) for name in self.list_commands(ctx)])


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"cargohold {version('cargohold')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version and leave.")
def cargohold() -> None:
    """Cargohold, a private container registry."""


def main() -> None:
    """The program `cargohold`."""
    try:
        cargohold(prog_name="cargohold")
    except BrokenPipeError:
        # The reader (head, less) left; what is still buffered must not raise again when the interpreter closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
