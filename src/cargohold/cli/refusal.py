"""How a command ends when it cannot do what it was asked: each cause in one line on standard error, and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

FAILED = 1
REFUSED = 2


def refuse(causes: Iterable[object], code: int = REFUSED) -> NoReturn:
    for cause in causes:
        click.echo(f"cargohold: {cause}", err=True)
    sys.exit(code)


EXTRAS = {"psycopg": "postgres", "obstore": "s3", "boto3": "s3"}
"""Library -> the extra of the package that brings it."""


@contextmanager
def explained() -> Iterator[None]:
    """Around reading the settings: what cannot be used ends the command with its causes, one a line."""
    from cargohold.config.origin import ConfigInvalid

    try:
        yield
    except ConfigInvalid as error:
        refuse(error.problems)


@contextmanager
def start_explained(code: int = REFUSED) -> Iterator[None]:
    """Around the work itself: what it may be refused for, be it an address, a folder, the database or a library that is not installed."""
    from cargohold.db.migrate import SchemaTooNew
    from cargohold.errors import CargoholdError
    from cargohold.http.listen import StartRefused
    from cargohold.storage.open import MissingExtra

    with explained():
        try:
            yield
        except (StartRefused, SchemaTooNew, MissingExtra, CargoholdError) as error:
            refuse([error], code)
        except ModuleNotFoundError as error:
            if error.name not in EXTRAS:
                raise
            refuse([f"{error.name} is not installed: pip install 'cargohold[{EXTRAS[error.name]}]'"], code)
