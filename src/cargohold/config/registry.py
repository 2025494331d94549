"""A config.yml of registry:2 (version 0.1) as claims on our settings.

    document --walk--> found: key path -> value     (unknown key, refused section -> problem; ignored -> notice)
    found --rules--> claims                         (most keys hand their value over; the rest have a rule below)

What registry:2 does without a key is claimed too, with the lowest rank after our own default: delete is off, s3 redirects,
the access log is on. An unknown key that came by a REGISTRY_* variable is a notice, as there. Caller: load.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cargohold.config.describe import every_setting
from cargohold.config.document import Items, Leaf, Table, Value
from cargohold.config.environment import unrecognized
from cargohold.config.origin import Origin, Problem, Rank, nearest
from cargohold.config.own import SECTION as OWN
from cargohold.config.own import Claim
from cargohold.config.registry_keys import AUTHS, DRIVERS, IGNORED, KEYS, REFUSED, Kind, Spec, spec
from cargohold.config.values import Unfit, fit, to_duration, to_map, to_text, to_texts, to_truth, to_whole

DEFAULT = Origin(Rank.REGISTRY_DEFAULT)
NEVER = 36525 * 24 * 3600.0
"""A hundred years, for what registry:2 can switch off and we can only put off."""

_CONVERT: dict[Kind, Callable[[Value], Any]] = {
    Kind.TEXT: to_text,
    Kind.FLAG: to_truth,
    Kind.WHOLE: to_whole,
    Kind.DURATION: to_duration,
    Kind.TEXTS: to_texts,
    Kind.MAP: lambda value: {key: to_text(item) for key, item in to_map(value).items()},
    Kind.MAP_OF_LISTS: lambda value: {key: to_texts(item) for key, item in to_map(value).items()},
    Kind.ANY: lambda value: None,
}


def translate(document: Table, problems: list[Problem]) -> tuple[list[Claim], list[str]]:
    """Claims and notices of a document that is a config.yml, or of the variables alone when there is no file."""
    reading = _Reading(problems)
    reading.short_forms(document)
    reading.walk(document, spec(), "")
    for rule in _RULES:
        rule(reading)
    reading.hand_over()
    return reading.claims, reading.notices


def registry_defaults(driver: str) -> list[Claim]:
    """What registry:2 does when its config.yml does not say."""
    claims = [Claim("storage.delete", False, DEFAULT), Claim("log.accesslog", "combined", DEFAULT)]
    if driver == "filesystem":
        claims.append(Claim("storage.rootdirectory", "/var/lib/registry", DEFAULT))
    if driver == "s3":
        claims.append(Claim("storage.redirect", True, DEFAULT))
    return claims


class _Reading:
    """`found` holds the values of honoured keys that are there; a rule takes out what it has dealt with."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.notices: list[str] = []
        self.claims: list[Claim] = []
        self.found: dict[str, tuple[Any, Origin]] = {}
        self.named: dict[str, Origin] = {}
        """Every section and key that the document names, whatever its value."""

    def short_forms(self, document: Table) -> None:
        """`storage: inmemory` is `storage: {inmemory: {}}`."""
        for name in ("storage", "auth"):
            value = document.entries.get(name)
            if isinstance(value, Leaf) and value.text and not value.empty:
                opened = Table({}, value.origin)
                opened.put(value.text, Leaf("", True, value.origin), value.origin)
                document.entries[name] = opened

    def walk(self, value: Value, here: Spec, path: str) -> None:
        """Checks names and types below a section, and collects."""
        try:
            entries = to_map(value)
        except Unfit as error:
            self.problem(value.origin, path, str(error))
            return
        for name, item in entries.items():
            origin = value.line_of(name) if isinstance(value, Table) else item.origin
            self._key(item, here, name, f"{path}.{name}".lstrip("."), origin)

    def _key(self, item: Value, parent: Spec, name: str, path: str, origin: Origin) -> None:
        here = parent.children.get(name)
        if here is None:
            self._unknown(origin, path, [f"{path.rpartition('.')[0]}.{known}".lstrip(".") for known in parent.children])
            return
        if path == OWN:
            return
        if here.key.does is IGNORED and parent.key.does is not IGNORED and not _says_nothing(item):
            self.notices.append(f"{origin.at(path)}: accepted without effect: {here.key.text}")
        if (
            here.key.does is REFUSED
            and parent.key.does is not REFUSED
            and (path.partition(".")[0] in ("storage", "auth") or not _says_nothing(item))
        ):
            self.problem(origin, path, here.key.text)
        self.named[path] = origin
        if here.key.kind is Kind.SECTION:
            self.walk(item, here, path)
        elif here.key.kind is Kind.ENTRIES:
            self._entries(item, here, path)
        elif not (isinstance(item, Leaf) and item.empty):
            self._leaf(item, here, path)

    def _entries(self, item: Value, here: Spec, path: str) -> None:
        if _says_nothing(item):
            return
        if not isinstance(item, Items) or here.element is None:
            self.problem(item.origin, path, "a list is needed")
            return
        for index, entry in enumerate(item.items):
            self.walk(entry, here.element, f"{path}[{index}]")

    def _leaf(self, item: Value, here: Spec, path: str) -> None:
        origin = max(_origins(item), key=lambda origin: origin.rank).at(path)
        try:
            self.found[here.key.path] = _CONVERT[here.key.kind](item), origin
        except Unfit as error:
            self.problem(origin, path, str(error))

    def _unknown(self, origin: Origin, path: str, siblings: list[str]) -> None:
        if origin.rank is Rank.REGISTRY_ENVIRONMENT:
            self.notices.append(unrecognized(origin))
        else:
            self.problem(origin, path, "unknown key" + (nearest(path, siblings) or nearest(path, KEYS)))

    def problem(self, origin: Origin, path: str, text: str) -> None:
        self.problems.append(Problem(origin, text, path, KEYS[path].setting if path in KEYS else ""))

    def claim(self, path: str, value: object, origin: Origin) -> None:
        try:
            self.claims.append(Claim(path, fit(every_setting()[path], value), origin))
        except Unfit as error:
            self.problem(origin, origin.key, str(error))

    def take(self, path: str) -> tuple[Any, Origin] | None:
        return self.found.pop(path, None)

    def hand_over(self) -> None:
        """Keys without a rule give their value to the setting of the table."""
        for path, (value, origin) in self.found.items():
            setting = KEYS[path].setting
            if setting and not (value == "" and every_setting()[setting].choices):
                self.claim(setting, value, origin)


def _says_nothing(value: Value) -> bool:
    """Empty all the way down, as a variable set to nothing makes it."""
    if isinstance(value, Leaf):
        return value.empty or not value.text
    inner = value.items if isinstance(value, Items) else list(value.entries.values())
    return all(map(_says_nothing, inner))


def _origins(value: Value) -> Iterator[Origin]:
    yield value.origin
    for inner in value.items if isinstance(value, Items) else value.entries.values() if isinstance(value, Table) else ():
        yield from _origins(inner)


def _version(reading: _Reading) -> None:
    version = reading.take("version")
    if version and version[0] != "0.1":
        reading.problem(version[1], "version", "only version 0.1 is known")


def _storage_driver(reading: _Reading) -> None:
    named = [name for name in DRIVERS if f"storage.{name}" in reading.named]
    for later in named[1:]:
        first, second = reading.named[f"storage.{named[0]}"], reading.named[f"storage.{later}"]
        hint = (
            f"; set REGISTRY_STORAGE={later} as well, it takes the file's driver away" if second.rank is Rank.REGISTRY_ENVIRONMENT else ""
        )
        reading.problem(second, f"storage.{later}", f"a second storage driver beside {named[0]} ({first.place}){hint}")
    driver = {"s3aws": "s3"}.get(named[0], named[0]) if named else ""
    if len(named) == 1 and driver in every_setting()["storage.driver"].choices:
        reading.claim("storage.driver", driver, reading.named[f"storage.{named[0]}"].at(f"storage.{named[0]}"))
    disable = reading.take("storage.redirect.disable")
    if disable and driver == "s3":
        reading.claim("storage.redirect", not disable[0], disable[1])


def _upload_purging(reading: _Reading) -> None:
    section = "storage.maintenance.uploadpurging."
    enabled, age = reading.take(section + "enabled"), reading.take(section + "age")
    if enabled and not enabled[0]:
        reading.claim("storage.upload_expiry", NEVER, enabled[1])
    elif age:
        reading.claim("storage.upload_expiry", age[0], age[1])


def _auth_kind(reading: _Reading) -> None:
    named = [name for name in AUTHS if f"auth.{name}" in reading.named]
    for later in named[1:]:
        reading.problem(reading.named[f"auth.{later}"], f"auth.{later}", f"auth.{named[0]} is there already; only one can be")
    if len(named) == 1 and named[0] in every_setting()["auth.kind"].choices:
        reading.claim("auth.kind", named[0], reading.named[f"auth.{named[0]}"].at(f"auth.{named[0]}"))


def _log(reading: _Reading) -> None:
    old = reading.take("loglevel")
    level = reading.take("log.level")
    value, origin = (level if level and level[0] else old) or ("", Origin())
    if value:
        reading.claim("log.level", value.lower(), origin)
    formatter = reading.take("log.formatter")
    if formatter and formatter[0]:
        reading.claim("log.formatter", {"logstash": "json"}.get(formatter[0], formatter[0]), formatter[1])
    disabled = reading.take("log.accesslog.disabled")
    if disabled:
        reading.claim("log.accesslog", "off" if disabled[0] else "combined", disabled[1])


def _http(reading: _Reading) -> None:
    minimum = reading.take("http.tls.minimumtls")
    if minimum and minimum[0] in ("tls1.0", "tls1.1"):
        reading.notices.append(f"{minimum[1]}: raised to tls1.2, the lowest version spoken here")
        reading.claim("http.tls.minimumtls", "tls1.2", minimum[1])
    elif minimum and minimum[0]:
        reading.claim("http.tls.minimumtls", minimum[0], minimum[1])
    headers = reading.take("http.headers")
    if headers:
        by_lower = {name.lower(): (name, values) for name, values in headers[0].items()}  # a variable makes a lower-case twin; it wins
        reading.claim("http.headers", dict(by_lower.values()), headers[1])
    enabled, path = reading.take("http.debug.prometheus.enabled"), reading.take("http.debug.prometheus.path")
    if enabled and not enabled[0]:
        reading.claim("admin.metrics_path", "", enabled[1])
    elif path and path[0]:
        reading.claim("admin.metrics_path", path[0], path[1])
    elif enabled:
        reading.claim("admin.metrics_path", "/metrics", enabled[1])


_RULES = (_version, _storage_driver, _upload_purging, _auth_kind, _log, _http)
