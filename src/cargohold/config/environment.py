"""REGISTRY_* on top of a config.yml, by registry:2's own rule.

Variables are taken in the order of their names. The parts after REGISTRY_ walk the document:
- at a section, a part is the upper-case name of a Go field (mostly the key in capitals);
- at a map (storage, auth, headers ...), a part enters the key that is equal but for case, else makes a new one in lower case;
- the short form of one word opens: `auth: htpasswd` becomes `auth: {htpasswd: {}}` when a variable goes deeper;
- in a list, a part is a number: an entry that is there, or the next one;
- what is left is YAML, read as the type of the key. An empty value sets the zero value.

A name that leads nowhere is a notice, never an error: Kubernetes makes such names by itself (REGISTRY_PORT=tcp://...).
Caller: load.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from cargohold.config.document import Items, Leaf, Table, Value, read_text
from cargohold.config.origin import ConfigInvalid, Origin, Problem, Rank
from cargohold.config.registry_keys import HONOURED, Key, Kind, Spec, spec

PREFIX = "REGISTRY_"
CONFIGURATION_PATH = "REGISTRY_CONFIGURATION_PATH"
_NOT_OURS = (CONFIGURATION_PATH, "REGISTRY_VERSION")


class _Unrecognized(Exception):
    """The variable names nothing that can be set."""


def unrecognized(origin: Origin) -> str:
    """The notice that registry:2 gives too."""
    return f"ignoring unrecognized environment variable {origin.name}"


def override(document: Table, environ: Mapping[str, str], problems: list[Problem]) -> list[str]:
    """Changes the document in place; returns notices."""
    notices: list[str] = []
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name == CONFIGURATION_PATH:
            continue
        origin = Origin(Rank.REGISTRY_ENVIRONMENT, name)
        try:
            if name in _NOT_OURS:
                raise _Unrecognized
            _overwrite(document, spec(), name.removeprefix(PREFIX).split("_"), environ[name], origin)
        except _Unrecognized:
            notices.append(unrecognized(origin))
        except ConfigInvalid as error:
            problems += error.problems
    return notices


def _overwrite(value: Value | None, here: Spec, parts: list[str], payload: str, origin: Origin) -> Value:
    """What stands at `here` after the variable was applied; raises `_Unrecognized`."""
    if not parts:
        return _payload(here.key.kind, payload, origin)
    if here.key.kind is Kind.ENTRIES or here.key.kind is Kind.TEXTS:
        return _overwrite_entry(value, here, parts, payload, origin)
    if here.key.kind not in (Kind.SECTION, Kind.MAP, Kind.MAP_OF_LISTS, Kind.ANY) or not parts[0]:
        raise _Unrecognized
    table = _opened(value, here, origin)
    name = _entered(table, here, parts)
    inner = here.children.get(name) or Spec(Key("", _kind_inside(here), HONOURED))
    table.put(name, _overwrite(table.entries.get(name), inner, parts[1:], payload, origin), origin)
    return table


def _overwrite_entry(value: Value | None, here: Spec, parts: list[str], payload: str, origin: Origin) -> Value:
    """An entry of a list by its number (registry:3; registry:2 passes such a variable over)."""
    items = value if isinstance(value, Items) else Items([], origin)
    if not parts[0].isdecimal() or int(parts[0]) > len(items.items):
        raise _Unrecognized
    index, inner = int(parts[0]), here.element or Spec(Key("", Kind.TEXT, HONOURED))
    items.items[index : index + 1] = [
        _overwrite(items.items[index] if index < len(items.items) else None, inner, parts[1:], payload, origin)
    ]
    return items


def _opened(value: Value | None, here: Spec, origin: Origin) -> Table:
    """The table to walk into; the short form of one word becomes one."""
    if isinstance(value, Table):
        return value
    table = Table({}, origin)
    if isinstance(value, Leaf) and value.text and not value.empty and here.is_map:
        table.put(value.text, Leaf("", True, value.origin), value.origin)
    return table


def _entered(table: Table, here: Spec, parts: list[str]) -> str:
    """The key that the first part stands for."""
    if not here.is_map:
        if parts[0] not in here.fields:
            raise _Unrecognized
        return here.fields[parts[0]]
    existing = next((key for key in table.entries if key.lower() == parts[0].lower()), None) if len(parts) > 1 else None
    return existing or parts[0].lower()


def _kind_inside(here: Spec) -> Kind:
    """The kind of a key that the table does not know."""
    return {Kind.MAP: Kind.TEXT, Kind.MAP_OF_LISTS: Kind.TEXTS}.get(here.key.kind, Kind.ANY)


def _payload(kind: Kind, payload: str, origin: Origin) -> Value:
    """The text of a variable, read as YAML of that kind; a text that is no YAML stays as it is."""
    zero = Leaf("", False, origin)
    if kind is not Kind.TEXT:
        return read_text(payload, origin) or zero
    try:
        value = read_text(payload, origin) or zero
    except ConfigInvalid:
        return Leaf(payload, False, origin)
    return Leaf(value.text, False, origin) if isinstance(value, Leaf) else Leaf(payload, False, origin)
