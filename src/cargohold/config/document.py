"""A YAML text as a tree that knows its lines: `Leaf`, `Items`, `Table`.

Built from parser events, never from YAML tags, so no object is made. What a careless or hostile file can do is refused in one
line: a tab, a key twice, a second document, aliases that blow up, nesting without end, a file over a megabyte.
A leaf keeps its text as written: whoever reads it knows the type it must have (`0.1` is a version, `5000` may be a password).

The only place that knows the YAML library. Callers: load.py (the file), environment.py and own.py (the value of a variable).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

import yaml

from cargohold.config.origin import ConfigInvalid, Origin, Problem, Rank

BYTES_LIMIT = 1 << 20
DEPTH_LIMIT = 32
VALUES_LIMIT = 10_000


class Mark(Protocol):
    """What the parser says of a place; lines count from 0."""

    @property
    def line(self) -> int: ...


@dataclass(slots=True)
class Leaf:
    text: str
    plain: bool
    """Written without quotes, so it may be a number, a truth value or nothing."""
    origin: Origin

    @property
    def empty(self) -> bool:
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


@dataclass(slots=True)
class Items:
    items: list[Value]
    origin: Origin


@dataclass(slots=True)
class Table:
    entries: dict[str, Value]
    origin: Origin
    lines: dict[str, Origin] = field(default_factory=dict)
    """Where each key stands."""

    def put(self, key: str, value: Value, origin: Origin) -> None:
        self.entries[key] = value
        self.lines[key] = origin

    def line_of(self, key: str) -> Origin:
        """Where the key stands, or, of a merged one, its value."""
        return self.lines.get(key, self.entries[key].origin)


Value = Leaf | Items | Table


def read_file(path: Path) -> Table:
    """The first document of a file. Raises `ConfigInvalid`."""
    here = Origin(Rank.FILE, path.name, 1)
    try:
        with path.open("rb") as file:
            raw = file.read(BYTES_LIMIT + 1)
        if len(raw) > BYTES_LIMIT:
            raise ConfigInvalid([Problem(here, f"the file is larger than {BYTES_LIMIT} bytes; that is no configuration")])
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ConfigInvalid([Problem(Origin(), f"cannot read {path}: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigInvalid([Problem(here, "the file is not UTF-8 text")]) from error
    value = read_text(text, here)
    if not isinstance(value, Table):
        text = "the file is empty; it needs at least version: 0.1" if value is None else "the file is not a mapping of keys to values"
        raise ConfigInvalid([Problem(here, text)])
    return value


def read_text(text: str, origin: Origin) -> Value | None:
    """A YAML text; None when it is empty. In a file, lines are counted from `origin`'s. Raises `ConfigInvalid`."""
    builder = _Builder(origin)
    try:
        value = builder.build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigInvalid([Problem(builder.origin(mark), _explain(error, text, mark))]) from error
    except yaml.YAMLError as error:
        raise ConfigInvalid([Problem(origin, "the text holds characters that YAML forbids")]) from error
    if builder.problems:
        raise ConfigInvalid(builder.problems)
    return value


def as_yaml(value: object) -> str:
    """Plain data as YAML text, keys in the order they have."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _explain(error: yaml.MarkedYAMLError, text: str, mark: Mark | None) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())] or "'\\t'" in (error.problem or ""):
        return "a tab: YAML is indented with spaces only"
    return f"not YAML: {error.problem or error.context or 'malformed'}"


class _Builder:
    """Turns parser events into a tree; counts what it makes, aliases at their full size."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._anchors: dict[str, tuple[Value, int]] = {}
        self._count = 0
        self.problems: list[Problem] = []

    def origin(self, mark: Mark | None) -> Origin:
        if self._origin.rank is not Rank.FILE or mark is None:
            return self._origin
        return Origin(Rank.FILE, self._origin.name, mark.line + 1)

    def build(self, events: Iterator[yaml.Event]) -> Value | None:
        value: Value | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document starts here; one is enough")
            elif isinstance(event, yaml.NodeEvent):
                value = self._value(event, events, 0)
        return None if isinstance(value, Leaf) and value.empty else value

    def _value(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> Value:
        self._charge(event, 1)
        if depth > DEPTH_LIMIT:
            self._refuse(event, f"nested deeper than {DEPTH_LIMIT} levels")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        before, value = self._count, self._content(event, events, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _content(self, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> Value:
        here = self.origin(event.start_mark)
        if isinstance(event, yaml.ScalarEvent):
            return Leaf(event.value, event.implicit[0], here)
        if isinstance(event, yaml.SequenceStartEvent):
            items = Items([], here)
            while isinstance(inner := next(events), yaml.NodeEvent):
                items.items.append(self._value(inner, events, depth + 1))
            return items
        table = Table({}, here)
        while isinstance(inner := next(events), yaml.NodeEvent):
            self._entry(table, inner, events, depth)
        return table

    def _entry(self, table: Table, event: yaml.NodeEvent, events: Iterator[yaml.Event], depth: int) -> None:
        key, here = self._value(event, events, depth + 1), self.origin(event.start_mark)
        following = next(events)
        assert isinstance(following, yaml.NodeEvent), "the parser gives a value to every key"
        value = self._value(following, events, depth + 1)
        if not isinstance(key, Leaf):
            self.problems.append(Problem(here, "a key must be a word"))
        elif key.plain and key.text == "<<":
            self._merge(table, value, here)
        elif key.text in table.lines:
            self.problems.append(Problem(here, f"the key is there already in line {table.lines[key.text].line}", key.text))
        else:
            table.put(key.text, value, here)

    def _merge(self, table: Table, value: Value, here: Origin) -> None:
        """`<<: *other`: keys that the table does not name itself."""
        for source in value.items if isinstance(value, Items) else [value]:
            if isinstance(source, Table):
                for key in source.entries:
                    if key not in table.entries:
                        table.entries[key] = source.entries[key]
            else:
                self.problems.append(Problem(here, "<< merges mappings only"))

    def _alias(self, event: yaml.AliasEvent) -> Value:
        if event.anchor not in self._anchors:
            self._refuse(event, f"the alias *{event.anchor} stands inside its own anchor or before it")
        value, size = self._anchors[event.anchor]
        self._charge(event, size)
        return copy.deepcopy(value)

    def _charge(self, event: yaml.Event, size: int) -> None:
        self._count += size
        if self._count > VALUES_LIMIT:
            self._refuse(event, f"the file unfolds to more than {VALUES_LIMIT} values; are its aliases meant?")

    def _refuse(self, event: yaml.Event, text: str) -> NoReturn:
        raise ConfigInvalid([*self.problems, Problem(self.origin(event.start_mark), text)])
