"""The reference pages are what the code says, and name every setting, every key, every error, every metric and every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cargohold.cli.reference import PAGES, commands, main
from cargohold.config.describe import every_setting
from cargohold.config.registry_keys import KEYS
from cargohold.errors import CargoholdError
from cargohold.telemetry.metrics import CATALOGUE

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"


def page(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_fresh(name: str) -> None:
    assert page(name) == PAGES[name](), "run: make fmt"


def test_every_page_can_be_written(tmp_path: Path) -> None:
    main(tmp_path / "reference")
    assert {path.name for path in (tmp_path / "reference").iterdir()} == set(PAGES)


def test_every_setting_is_explained() -> None:
    assert not [path for path in every_setting() if f"### `{path}`" not in page("settings.md")]
    for path, setting in every_setting().items():
        assert len(setting.text.split()) >= 3 or setting.choices, f"{path}: say in settings.py what it does"
        assert setting.text.endswith(".")


def test_every_key_is_there() -> None:
    assert not [path for path in KEYS if f"| `{path}` |" not in page("config-yml.md")]


def test_every_error_is_there() -> None:
    def tree(kind: type[CargoholdError]) -> list[type[CargoholdError]]:
        return [kind] + [found for child in kind.__subclasses__() for found in tree(child)]

    ours = [kind for kind in tree(CargoholdError) if kind.__module__.startswith("cargohold.")]
    assert not [kind for kind in ours if f"| {kind.__name__} | {kind.status} | `{kind.code}` |" not in page("errors.md")]


def test_every_metric_is_there() -> None:
    assert CATALOGUE and not [name for name in CATALOGUE if f"| `{name}` |" not in page("metrics.md")]


def test_every_command_is_there() -> None:
    assert not [words for words, _ in commands() if f"\n## {' '.join(words)}\n" not in page("cli.md")]


def test_links_between_the_pages_lead_somewhere() -> None:
    anchors = {name: {_anchor(line) for line in page(name).splitlines() if line.startswith("#")} for name in PAGES}
    links = re.findall(r"\]\(([\w-]+\.md)(?:#([\w-]+))?\)", "".join(map(page, PAGES)))
    assert links and not [(name, anchor) for name, anchor in links if name not in PAGES or (anchor and anchor not in anchors[name])]


def _anchor(heading: str) -> str:
    """As code hosts make it: lower case, only letters, digits, `-` and `_`, blanks as `-`."""
    return re.sub(r"[^\w -]", "", heading.lstrip("# ").lower()).replace(" ", "-")
