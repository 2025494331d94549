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
from cargohold.config.checks import faults
from cargohold.config.describe import every_setting
from cargohold.config.document import Items, Leaf, Table, read_file
from cargohold.config.environment import CONFIGURATION_PATH, override
from cargohold.config.origin import ConfigInvalid, Origin, Problem, Rank
from cargohold.config.own import SECTION as OWN_SECTION
from cargohold.config.own import Claim
from cargohold.config.registry import registry_defaults, translate
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
    if path is None and environ.get(CONFIGURATION_PATH):
        path = Path(environ[CONFIGURATION_PATH])
    problems: list[Problem] = []
    document = read_file(path) if path else _stand_in()
    if path and "version" not in document.entries:
        problems.append(Problem(document.origin, "missing: write version: 0.1", "version"))
    notices = override(document, environ, problems)
    claims, more = translate(document, problems)
    if OWN_SECTION in document.entries:
        claims += own.from_section(document.entries[OWN_SECTION], problems)
    claims += own.from_environment(environ, problems)
    claims += own.from_flags(flags or {}, problems)
    winners = _decide(claims, problems)
    if path:
        winners = _with_registry_defaults(winners, document.origin, problems)
    settings = _assemble(winners)
    origin = {name: winners[name].origin if name in winners else Origin() for name in every_setting()}
    told = {problem.setting for problem in problems}
    problems += [Problem(origin[name], text, origin[name].key or name) for name, text in faults(settings) if name not in told]
    if problems:
        raise ConfigInvalid(_in_order(problems))
    return Loaded(settings, origin, tuple(dict.fromkeys(notices + more)), path, dict(flags or {}))


def _stand_in() -> Table:
    """The document that variables change when there is no file: our default headers, so that a variable adds to them."""
    headers = Table({}, Origin())
    for name, values in Settings().http.headers.items():
        headers.put(name, Items([Leaf(value, False, Origin()) for value in values], Origin()), Origin())
    http = Table({"headers": headers}, Origin())
    return Table({"http": http}, Origin())


def _with_registry_defaults(winners: dict[str, Claim], start: Origin, problems: list[Problem]) -> dict[str, Claim]:
    """A config.yml that does not say gets what registry:2 does; one without a driver is refused, as there."""
    if "storage.driver" not in winners and "storage.rootdirectory" not in winners and not problems:
        problems.append(Problem(start, "missing: name a driver: filesystem, s3 or inmemory", "storage"))
    driver = str(winners["storage.driver"].value) if "storage.driver" in winners else ""
    return {claim.path: claim for claim in registry_defaults(driver)} | winners


def _in_order(problems: list[Problem]) -> list[Problem]:
    """File first, by line; then variables and flags."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.origin.rank, problem.origin.line, problem.origin.name))


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
