"""Our own settings by their own paths: the `cargohold:` section of a config.yml, CARGOHOLD_* variables, command-line flags.

All three name the same closed set of paths (describe.py), so a name that is not in it is an error with the nearest one.
Each function gives claims: a path, a typed value, and where it came from; load.py decides which claim wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cargohold.config.describe import Setting, every_setting
from cargohold.config.document import Leaf, Table, Value, read_text
from cargohold.config.origin import ConfigInvalid, Origin, Problem, Rank, nearest
from cargohold.config.values import Unfit, to_setting

PREFIX = "CARGOHOLD_"
SECTION = "cargohold"

FLAGS: dict[str, dict[str, str | None]] = {
    "--addr": {"http.addr": None},
    "--root": {"storage.rootdirectory": None},
    "--tls-cert": {"http.tls.certificate": None},
    "--tls-key": {"http.tls.key": None},
    "--htpasswd": {"auth.htpasswd.path": None, "auth.kind": "htpasswd"},
    "--htpasswd-realm": {"auth.htpasswd.realm": None},
    "--workers": {"workers": None},
    "--admin-addr": {"admin.addr": None},
    "--log-level": {"log.level": None},
}
"""Flag -> the settings it gives; None stands for the flag's own value."""

# Kubernetes hands every pod the addresses of the services beside it; a service named "cargohold" makes such names.
_SERVICE_LINK = re.compile(r"CARGOHOLD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")


@dataclass(frozen=True, slots=True)
class Claim:
    path: str
    value: object
    origin: Origin


def from_section(section: Value, problems: list[Problem]) -> list[Claim]:
    """What the `cargohold:` section says."""
    claims: list[Claim] = []
    _walk(section, "", claims, problems)
    return claims


def _walk(value: Value, prefix: str, claims: list[Claim], problems: list[Problem]) -> None:
    if isinstance(value, Leaf) and value.empty:
        return
    if not isinstance(value, Table):
        problems.append(Problem(value.origin, "a mapping of settings is needed", _key(prefix)))
        return
    settings = every_setting()
    for name, item in value.entries.items():
        path, origin = prefix + name, value.line_of(name)
        if path in settings:
            claim(settings[path], item, origin.at(_key(path)), claims, problems)
        elif any(known.startswith(path + ".") for known in settings):
            _walk(item, path + ".", claims, problems)
        else:
            problems.append(Problem(origin, "unknown key" + nearest(_key(path), map(_key, _siblings(prefix))), _key(path)))


def _key(path: str) -> str:
    return f"{SECTION}.{path}".rstrip(".")


def _siblings(prefix: str) -> list[str]:
    """Paths of what may stand at that level."""
    return sorted({prefix + path[len(prefix) :].partition(".")[0] for path in every_setting() if path.startswith(prefix)})


def from_environment(environ: Mapping[str, str], problems: list[Problem]) -> list[Claim]:
    """What CARGOHOLD_* says."""
    by_variable = {setting.variable: setting for setting in every_setting().values()}
    claims: list[Claim] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or _SERVICE_LINK.fullmatch(name):
            continue
        origin = Origin(Rank.ENVIRONMENT, name)
        if name not in by_variable:
            problems.append(Problem(origin, "there is no such setting" + nearest(name, by_variable)))
            continue
        setting = by_variable[name]
        try:
            value = _from_text(setting, environ[name], origin)
        except ConfigInvalid as error:
            problems += [Problem(problem.origin, problem.text, problem.key, setting.path) for problem in error.problems]
            continue
        claim(setting, value, origin, claims, problems)
    return claims


def _from_text(setting: Setting, text: str, origin: Origin) -> Value:
    """Lists and maps are written in YAML, everything else as it is."""
    if setting.base in (str, int, float, bool):
        return Leaf(text, False, origin)
    return read_text(text, origin) or Leaf("", True, origin)


def from_flags(flags: Mapping[str, str], problems: list[Problem]) -> list[Claim]:
    """What the command line says; `flags` has the flags that were given, with their dashes."""
    claims: list[Claim] = []
    for flag, text in flags.items():
        origin = Origin(Rank.FLAG, flag)
        for path, fixed in FLAGS[flag].items():
            claim(every_setting()[path], Leaf(text if fixed is None else fixed, False, origin), origin, claims, problems)
    return claims


def claim(setting: Setting, value: Value, origin: Origin, claims: list[Claim], problems: list[Problem]) -> None:
    """Adds a claim, or the problem why there is none."""
    try:
        claims.append(Claim(setting.path, to_setting(setting, value), origin))
    except Unfit as error:
        problems.append(Problem(origin, str(error), origin.key, setting.path))
