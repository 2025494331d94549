"""One `Settings` from default < file < environment < flag, and for every value where it came from.

    config.yml --read--> document --REGISTRY_*--> document' --translate--> claims \\
    cargohold: section, CARGOHOLD_*, flags -------------------------------> claims --highest rank wins--> Settings

All problems are found before any is told. Two places of the file that give the same setting are a problem; between
file, environment and flag the higher wins silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from cargohold.config import own
from cargohold.config.describe import every_setting
from cargohold.config.origin import ConfigInvalid, Origin, Problem, Rank
from cargohold.config.own import Claim
from cargohold.config.settings import Settings


@dataclass(frozen=True)
class Loaded:
    settings: Settings
    origin: dict[str, Origin]
    """Setting path -> where its value came from; every path is there."""
    notices: tuple[str, ...] = ()
    """Lines to log once: keys that have no meaning here, variables that name nothing."""
    path: Path | None = None
    """The config.yml that was read."""
    flags: Mapping[str, str] = field(default_factory=dict)

    def again(self, environ: Mapping[str, str]) -> Loaded:
        """The same file and flags, read once more (SIGHUP). Raises `ConfigInvalid`."""
        return load(self.path, environ, self.flags)


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, str] | None = None) -> Loaded:
    """Reads and checks everything; `flags` maps `--addr` and its like (own.FLAGS) to their text. Raises `ConfigInvalid`."""
    problems: list[Problem] = []
    notices: list[str] = []
    claims: list[Claim] = []
    claims += own.from_environment(environ, problems)
    claims += own.from_flags(flags or {}, problems)
    winners = _decide(claims, problems)
    if problems:
        raise ConfigInvalid(problems)
    settings = _assemble(winners)
    origin = {path: winners[path].origin if path in winners else Origin() for path in every_setting()}
    return Loaded(settings, origin, tuple(notices), path, dict(flags or {}))


def _decide(claims: list[Claim], problems: list[Problem]) -> dict[str, Claim]:
    """Path -> the claim of the highest rank."""
    winners: dict[str, Claim] = {}
    for claim in claims:
        rival = winners.get(claim.path)
        if rival and rival.origin.rank == claim.origin.rank == Rank.FILE:
            text = f"says the same as {rival.origin.key} in line {rival.origin.line}; keep one of them"
            problems.append(Problem(claim.origin, text, claim.origin.key))
        if rival is None or claim.origin.rank >= rival.origin.rank:
            winners[claim.path] = claim
    return winners


def _assemble(winners: dict[str, Claim]) -> Settings:
    tree: dict[str, Any] = {}
    for path, claim in winners.items():
        *sections, name = path.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = claim.value
    return msgspec.convert(tree, Settings)
