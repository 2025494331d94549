"""docs/architecture.md names rooms and files: every one of them is there, and no room is left out."""

from __future__ import annotations

import re

from tests.house.sources import PACKAGE, ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_every_file_it_names_is_there() -> None:
    named = {match[0] for text in re.findall(r"`([^`\n]+)`", PAGE) if (match := re.match(r"(?:\.?\w+/)+(?:\w+\.py)?|\w+\.py", text))}
    assert len(named) > 30
    missing = {name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()}
    assert missing <= {"_cargohold/uploads/"}


def test_every_function_it_names_is_there() -> None:
    for file, function in re.findall(r"`([\w/]+\.py): (\w+)`", PAGE):
        assert re.search(rf"^    (?:async )?def {function}\(|^(?:async )?def {function}\(", (PACKAGE / file).read_text(), re.MULTILINE), (
            file,
            function,
        )


def test_every_room_is_drawn() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__", "__main__"}
    drawing = PAGE.partition("```text\n")[2].partition("```")[0]
    drawn = {word for line in drawing.splitlines() for word in line[:26].split()}
    assert rooms == drawn


def test_both_walks_pass_the_rooms_they_must() -> None:
    for walk, rooms in {
        "push": ["registry", "content", "storage", "db", "events"],
        "pull": ["http", "registry", "auth", "content", "db", "storage"],
    }.items():
        section = PAGE.partition(f"## The walk of a {walk}")[2].partition("\n## ")[0]
        assert not [room for room in rooms if f"`{room}" not in section], walk
