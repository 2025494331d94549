"""A config.yml for one test: written into a folder, loaded with a given environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cargohold.config.load import Loaded, load
from cargohold.config.origin import ConfigInvalid

MINIMAL = "version: 0.1\nstorage: inmemory\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yml"
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, text: str = MINIMAL, environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> Loaded:
    return load(write(folder, text), environ or {}, flags)


def problems(folder: Path, text: str = MINIMAL, environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> list[str]:
    """The lines a user would read."""
    with pytest.raises(ConfigInvalid) as caught:
        loaded(folder, text, environ, flags)
    return str(caught.value).splitlines()


def nested(path: str, value: object) -> dict[str, object]:
    """`nested("a.b[].c", 1)` is `{"a": {"b": [{"c": 1}]}}`."""
    for part in reversed(path.split(".")):
        value = {part.removesuffix("[]"): [value] if part.endswith("[]") else value}
    assert isinstance(value, dict)
    return value


def merged(base: dict[str, object], more: dict[str, object]) -> dict[str, object]:
    out = dict(base)
    for key, value in more.items():
        old = out.get(key)
        out[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return out


def as_text(data: dict[str, object]) -> str:
    return yaml.safe_dump(data, sort_keys=False)
