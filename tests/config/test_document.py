"""The file itself: what YAML can do to us, each thing refused in one line that says where."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cargohold.config.document import BYTES_LIMIT, Items, Leaf, Table, read_file, read_text
from cargohold.config.load import load
from cargohold.config.origin import ConfigInvalid, Origin, Rank
from tests.config.files import MINIMAL, loaded, problems

HERE = Origin(Rank.FILE, "x.yml", 1)

BROKEN = [
    ("", "config.yml:1: the file is empty; it needs at least version: 0.1"),
    ("# only a remark\n", "config.yml:1: the file is empty; it needs at least version: 0.1"),
    ("- a\n", "config.yml:1: the file is not a mapping of keys to values"),
    ("word\n", "config.yml:1: the file is not a mapping of keys to values"),
    (MINIMAL + "http:\n\taddr: :5000\n", "config.yml:4: a tab: YAML is indented with spaces only"),
    (MINIMAL + "http:\n  addr: :1\n  addr: :2\n", "config.yml:5: addr: the key is there already in line 4"),
    (MINIMAL + "http: {net: tcp, net: tcp}\n", "config.yml:3: net: the key is there already in line 3"),
    (MINIMAL + "---\nversion: 0.1\n", "config.yml:3: a second document starts here; one is enough"),
    (MINIMAL + "http: &a {headers: *a}\n", "config.yml:3: the alias *a stands inside its own anchor or before it"),
    (MINIMAL + "http: [1, 2\n", "config.yml:4: not YAML: expected ',' or ']', but got '<stream end>'"),
    (MINIMAL + "? [a]\n: b\n", "config.yml:3: a key must be a word"),
    (MINIMAL + "log: {fields: {a: " + "[" * 40 + "]" * 40 + "}}\n", "config.yml:3: nested deeper than 32 levels"),
]


@pytest.mark.parametrize(("text", "line"), BROKEN, ids=[line[:40] for _, line in BROKEN])
def test_a_broken_file_is_refused_in_one_line(text: str, line: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [line]


def test_a_bomb_of_aliases_is_refused_quickly(tmp_path: Path) -> None:
    bomb = "log:\n  fields:\n    a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12))
    started = time.process_time()
    (line,) = problems(tmp_path, MINIMAL + bomb)
    assert "unfolds to more than 10000 values" in line and line.startswith("config.yml:")
    assert time.process_time() - started < 2


def test_deep_nesting_does_not_end_the_process(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, MINIMAL + "a: " + "[" * 100_000)
    assert "nested deeper" in line


def test_a_file_of_a_megabyte_is_none(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, MINIMAL + "#" * BYTES_LIMIT)
    assert "larger than" in line


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    for raw in (b"\xff\xfe\x00", b"version: \x00\x01", b"a: \x07"):
        path.write_bytes(raw)
        with pytest.raises(ConfigInvalid, match=r"config\.yml:1: (the file is not UTF-8|the text holds|not YAML)"):
            load(path, {})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"cannot read .*/none\.yml: No such file"):
        load(tmp_path / "none.yml", {})
    with pytest.raises(ConfigInvalid, match=r"cannot read .*: Is a directory"):
        load(tmp_path, {})


def test_anchors_and_merges_work_and_keep_their_own_copies(tmp_path: Path) -> None:
    text = """version: 0.1
storage: inmemory
http:
  tls: &tls {certificate: /c, key: /k}
cargohold:
  http:
    tls: {<<: {minimumtls: tls1.3}}
"""
    settings = loaded(tmp_path, text).settings
    assert (settings.http.tls.certificate, settings.http.tls.minimumtls) == ("/c", "tls1.3")
    tree = read_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a\n", HERE)
    assert isinstance(tree, Table)
    assert tree.entries["a"] is not tree.entries["c"]
    merged = tree.entries["b"]
    assert isinstance(merged, Table) and set(merged.entries) == {"x", "y"}


def test_every_value_knows_its_line() -> None:
    tree = read_text("a:\n  - 1\n  - b: 2\n", HERE)
    assert isinstance(tree, Table)
    items = tree.entries["a"]
    assert isinstance(items, Items)
    first, second = items.items
    assert isinstance(first, Leaf) and first.origin.line == 2
    assert isinstance(second, Table) and second.entries["b"].origin.line == 3


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert isinstance(read_file(path).entries["version"], Leaf)
