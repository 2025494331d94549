"""Raw text and trees into typed values: durations, sizes, truth, lists, maps.

Durations: Go's (`1h30m`, `10s`, `250ms`). A bare number is nanoseconds in a key of registry:2, and seconds in ours.
Sizes: bytes, or with KiB, MiB, GiB. A value that does not fit raises `Unfit` with what was expected, never with the value.
"""

from __future__ import annotations

import re
from typing import Any

from cargohold.config.describe import Setting
from cargohold.config.document import Items, Leaf, Table, Value

_TRUTH = {"true": True, "yes": True, "on": True, "y": True, "false": False, "no": False, "off": False, "n": False}
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"\d{1,18}")
_DECIMAL = re.compile(r"\d{1,15}(\.\d{1,9})?")
_SIZE = re.compile(r"(\d{1,15}) ?(KiB|MiB|GiB|TiB|k|K|M|G)?(?:B|b)?")
_FACTOR = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "k": 1000, "K": 1000, "M": 1000**2, "G": 1000**3}


class Unfit(ValueError):
    """A value of the wrong type or range; the message says what fits."""


def go_duration(text: str) -> float:
    """Seconds of a Go duration such as `1h30m`; `0` needs no unit."""
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(parts) != text:
        raise Unfit("a duration such as 90s, 10m or 1h30m is needed")
    total = 0.0
    for part in parts:
        number = part.rstrip("nuµμmsh")
        total += float(number) * _SECONDS[part[len(number) :]]
    return round(total, 9)


def to_text(value: Value, wanted: str = "a text") -> str:
    if not isinstance(value, Leaf):
        raise Unfit(f"{wanted} is needed, not {_shape(value)}")
    return "" if value.empty else value.text


def to_truth(value: Value) -> bool:
    """An empty value is false, as in Go."""
    text = to_text(value, "true or false")
    if not text:
        return False
    if text.lower() not in _TRUTH:
        raise Unfit("true or false is needed")
    return _TRUTH[text.lower()]


def to_whole(value: Value) -> int:
    text = to_text(value, "a whole number") or "0"
    if not _NUMBER.fullmatch(text):
        raise Unfit("a whole number is needed")
    return int(text)


def to_duration(value: Value) -> float:
    """registry:2's: a Go duration, or a bare number of nanoseconds."""
    text = to_text(value, "a duration") or "0"
    return int(text) / 1e9 if _NUMBER.fullmatch(text) else go_duration(text)


def to_texts(value: Value) -> list[str]:
    if isinstance(value, Leaf) and (value.empty or not value.text):
        return []
    if not isinstance(value, Items):
        raise Unfit(f"a list of texts is needed, not {_shape(value)}")
    return [to_text(item) for item in value.items]


def to_map(value: Value) -> dict[str, Value]:
    if isinstance(value, Leaf) and (value.empty or not value.text):
        return {}
    if not isinstance(value, Table):
        raise Unfit(f"a mapping is needed, not {_shape(value)}")
    return value.entries


def to_setting(setting: Setting, value: Value) -> object:
    """A value of one of our own settings, from a file or a variable."""
    return fit(setting, _convert(setting, value))


def fit(setting: Setting, value: object) -> object:
    """The value, when its choices and range allow it."""
    if setting.choices and value not in setting.choices:
        raise Unfit(f"must be one of {', '.join(setting.choices)}")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if setting.low is not None and value < setting.low:
            raise Unfit(f"must be {setting.low:.0f} or more")
        if setting.high is not None and value > setting.high:
            raise Unfit(f"must be {setting.high:.0f} or less")
    return value


def _convert(setting: Setting, value: Value) -> Any:
    base = setting.base
    if base is bool:
        return to_truth(value)
    if base is int:
        return _size(to_text(value, "a size")) if setting.unit == "bytes" else to_whole(value)
    if base is float:
        text = to_text(value, "a duration")
        return float(text) if _DECIMAL.fullmatch(text) else go_duration(text)
    if base == list[str]:
        return to_texts(value)
    if base == dict[str, str]:
        return {key: to_text(item) for key, item in to_map(value).items()}
    if base == dict[str, list[str]]:
        return {key: to_texts(item) for key, item in to_map(value).items()}
    return to_text(value)


def _size(text: str) -> int:
    match = _SIZE.fullmatch(text)
    if not match:
        raise Unfit("a number of bytes is needed, or one with KiB, MiB or GiB")
    return int(match[1]) * _FACTOR[match[2] or ""]


def _shape(value: Value) -> str:
    return {Leaf: "a single value", Items: "a list", Table: "a mapping"}[type(value)]
