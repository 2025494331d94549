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


@contextmanager
def explained(*expected: type[Exception]) -> Iterator[None]:
    """Around a command's work: settings that cannot be used, and each expected refusal, end it with the causes, one a line."""
    from cargohold.config.origin import ConfigInvalid

    try:
        yield
    except ConfigInvalid as error:
        refuse(error.problems)
    except expected as error:
        refuse([error])
