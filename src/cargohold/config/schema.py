"""The JSON Schema (draft 7) of a config.yml, for editors and for checks before a file is deployed.

Made from the same two tables that the loader reads: KEYS for what is registry:2's, the settings tree below `cargohold:`.
It is stricter than YAML readers in one way only: a duplicate key cannot be seen by a schema.
"""

from __future__ import annotations

from typing import Any

from cargohold.config.describe import Setting, every_setting
from cargohold.config.own import SECTION as OWN
from cargohold.config.registry_keys import AUTHS, DRIVERS, MAPS, REFUSED, Kind, Spec, spec

Node = dict[str, Any]

_DURATION = r"^(\d+(\.\d*)?(ns|us|ms|s|m|h))+$"
_SIZE = r"^\d{1,15} ?(KiB|MiB|GiB|TiB|k|K|M|G)?[Bb]?$"
_WORD: Node = {"type": ["string", "number", "boolean", "null"]}
_WORDS: Node = {"type": ["array", "null"], "items": _WORD}

_BY_KIND: dict[Kind, Node] = {
    Kind.TEXT: _WORD,
    Kind.FLAG: {"type": ["boolean", "null"]},
    Kind.WHOLE: {"type": ["integer", "null"], "minimum": 0},
    Kind.DURATION: {"type": ["string", "integer", "null"], "pattern": _DURATION},
    Kind.TEXTS: _WORDS,
    Kind.MAP: {"type": ["object", "null"], "additionalProperties": _WORD},
    Kind.MAP_OF_LISTS: {"type": ["object", "null"], "additionalProperties": _WORDS},
    Kind.ANY: {},
}


def config_schema() -> Node:
    """The schema of a whole file."""
    root = _section(spec())
    root["properties"]["version"] = {"enum": ["0.1", 0.1], "description": "Version of the form of this file."}
    root["properties"][OWN] = _own()
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "config.yml of Cargohold",
        **root,
        "type": "object",
        "required": ["version"],
    }


def _section(here: Spec) -> Node:
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {name: _key(child) for name, child in here.children.items()},
    }


def _key(here: Spec) -> Node:
    if here.key.does is REFUSED:
        return {"not": {}, "description": f"Refused: {here.key.text}" if here.key.text else "Refused."}
    if here.key.kind is Kind.ENTRIES:
        assert here.element is not None, "a list of sections has an element"
        node: Node = {"type": ["array", "null"], "items": _section(here.element)}
    elif here.key.kind is Kind.SECTION:
        node = _section(here)
        if here.key.path in MAPS and here.key.path != "middleware":
            names = {"storage": DRIVERS, "auth": AUTHS}[here.key.path]
            node = {"anyOf": [node, {"enum": [name for name in names if here.children[name].key.does is not REFUSED]}]}
    else:
        node = dict(_BY_KIND[here.key.kind])
    text = here.key.text or (every_setting()[here.key.setting].text if here.key.setting else "")
    return node | ({"description": text} if text else {})


def _own() -> Node:
    root: Node = {"type": ["object", "null"], "additionalProperties": False, "properties": {}, "description": "Our own settings."}
    for path, setting in every_setting().items():
        *sections, name = path.split(".")
        node = root
        for section in sections:
            empty: Node = {"type": ["object", "null"], "additionalProperties": False, "properties": {}}
            node = node["properties"].setdefault(section, empty)
        node["properties"][name] = _setting(setting) | {"description": setting.text, "default": setting.default}
    return root


def _setting(setting: Setting) -> Node:
    if setting.choices:
        return {"enum": list(setting.choices)}
    if setting.base is bool:
        return {"type": "boolean"}
    if setting.base in (int, float):
        node: Node = {"type": "integer" if setting.base is int else "number"}
        node |= {word: bound for word, bound in (("minimum", setting.low), ("maximum", setting.high)) if bound is not None}
        if not setting.unit:
            return node
        return {"anyOf": [node, {"type": "string", "pattern": _DURATION if setting.unit == "seconds" else _SIZE}]}
    if setting.base == list[str]:
        return _WORDS
    if setting.base == dict[str, str]:
        return _BY_KIND[Kind.MAP]
    if setting.base == dict[str, list[str]]:
        return _BY_KIND[Kind.MAP_OF_LISTS]
    return _WORD
