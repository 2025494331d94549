"""The tree of settings as a flat list: path, type, default, choices, range, unit, and the text under the field.

What is written in settings.py is the only source; the loader, `config show`, the JSON Schema and docs/reference/settings.md
all read it through here. Texts need the source file and are read only when asked for.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import msgspec

from cargohold.config import settings
from cargohold.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    path: str
    owner: str
    """Name of the class that holds the field."""
    base: Any
    """str, int, float, bool, list[str], dict[str, str] or dict[str, list[str]]."""
    default: object
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    unit: str = ""
    """seconds, bytes or nothing."""
    secret: bool = False
    url: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition(".")[2]

    @property
    def variable(self) -> str:
        return "CARGOHOLD_" + self.path.upper().replace(".", "_")

    @property
    def text(self) -> str:
        """The docstring under the field."""
        return _texts().get((self.owner, self.name), "")

    @property
    def type_name(self) -> str:
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.unit == "seconds":
            return "duration"
        if self.unit == "bytes":
            return "size"
        return _TYPE_NAMES[self.base]


_TYPE_NAMES: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    list[str]: "list of texts",
    dict[str, str]: "map of texts",
    dict[str, list[str]]: "map of lists of texts",
}


@cache
def every_setting() -> dict[str, Setting]:
    """Path -> setting, in the order of settings.py."""
    return {setting.path: setting for setting in _walk(Settings, "")}


def _walk(owner: type[msgspec.Struct], prefix: str) -> Iterator[Setting]:
    for item in msgspec.structs.fields(owner):
        path = prefix + item.name
        if isinstance(item.type, type) and issubclass(item.type, msgspec.Struct):
            yield from _walk(item.type, path + ".")
        else:
            default = item.default if item.default is not msgspec.NODEFAULT else typing.cast(Any, item.default_factory)()
            yield _setting(path, owner.__name__, item.type, default)


def _setting(path: str, owner: str, hint: Any, default: object) -> Setting:
    if typing.get_origin(hint) is Literal:
        return Setting(path, owner, str, default, choices=typing.get_args(hint))
    if typing.get_origin(hint) is not typing.Annotated:
        return Setting(path, owner, hint, default)
    base, meta = typing.get_args(hint)
    extra = meta.extra or {}
    return Setting(
        path,
        owner,
        base,
        default,
        low=meta.ge,
        high=meta.le,
        unit=extra.get("unit", ""),
        secret=extra.get("secret", False),
        url=extra.get("url", False),
    )


@cache
def _texts() -> dict[tuple[str, str], str]:
    tree = ast.parse(inspect.getsource(settings))
    found: dict[tuple[str, str], str] = {}
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for field, below in zip(owner.body, owner.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
                assert isinstance(below.value, ast.Constant), "a docstring stands below a field"
                found[owner.name, field.target.id] = " ".join(str(below.value.value).split())
    return found


def value_of(tree: Settings, path: str) -> object:
    value: object = tree
    for part in path.split("."):
        value = getattr(value, part)
    return value
