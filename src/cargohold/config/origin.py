"""Where a value came from, and what is wrong with it.

    default < default of registry:2 (when there is a config.yml) < config.yml < REGISTRY_* < CARGOHOLD_* < flag

`Origin` prints as `default`, `config.yml:12 http.addr`, `environment REGISTRY_HTTP_ADDR` or `flag --addr`. A `Problem` is one
line; `ConfigInvalid` carries all of them, so that a file is mended in one go. No message ever repeats a value: it may be a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Rank(IntEnum):
    """Who wins: the higher."""

    DEFAULT = 0
    REGISTRY_DEFAULT = 1
    FILE = 2
    REGISTRY_ENVIRONMENT = 3
    ENVIRONMENT = 4
    FLAG = 5


@dataclass(frozen=True, slots=True)
class Origin:
    rank: Rank = Rank.DEFAULT
    name: str = ""
    """Of a file: its base name; of the environment: the variable; of a flag: the flag."""
    line: int = 0
    key: str = ""
    """The key path as the file spells it."""

    def at(self, key: str) -> Origin:
        """The same place, told as that key."""
        return Origin(self.rank, self.name, self.line, key) if self.rank is Rank.FILE else self

    @property
    def place(self) -> str:
        """Without the key: `config.yml:12`, `environment REGISTRY_HTTP_ADDR`."""
        return f"{self.name}:{self.line}" if self.rank is Rank.FILE else str(self)

    def __str__(self) -> str:
        match self.rank:
            case Rank.DEFAULT:
                return "default"
            case Rank.REGISTRY_DEFAULT:
                return "default of registry:2"
            case Rank.FILE:
                return f"{self.name}:{self.line} {self.key}".rstrip()
            case Rank.FLAG:
                return f"flag {self.name}"
            case _:
                return f"environment {self.name}"


@dataclass(frozen=True, slots=True)
class Problem:
    origin: Origin
    text: str
    key: str = ""
    """The key path as the file spells it, where there is one."""
    setting: str = ""
    """The setting that got no value because of this."""

    def __str__(self) -> str:
        """One line: place, key where the place does not say it, cause."""
        return ": ".join(part for part in (self.origin.place, self.key, self.text) if part and part != "default")


class ConfigInvalid(Exception):
    """The settings cannot be used; `problems` has every cause, in the order of the file."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?`, or nothing when no known name is near."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""
