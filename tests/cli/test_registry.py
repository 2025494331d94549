"""`cargohold registry` and `cargohold db` as processes: a refused start is one line and exit code 2."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from cargohold.cli.registry import given
from cargohold.config.own import FLAGS
from tests.cli.program import PROGRAM, fails, run


def test_the_flags_of_serve_are_the_flags_of_the_loader() -> None:
    text = run("registry", "serve", "--help").stdout
    assert not [flag for flag in FLAGS if flag not in text]
    assert given({"tls_cert": "/c", "addr": None}) == {"--tls-cert": "/c"}


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        (line,) = fails("registry", "serve", "--addr", f"127.0.0.1:{port}", "--root", tmp_path / "data", code=2)
    assert line.startswith("cargohold: ") and port in line


def test_a_folder_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    (line,) = fails("registry", "serve", "--addr", "127.0.0.1:0", "--root", tmp_path / "file" / "data", code=2)
    assert line.startswith("cargohold: ") and "file/data" in line


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["--tls-cert", "c.pem"], "http.tls.key: missing"),
        (["--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem"),
        (["--htpasswd", "none"], "none"),
        (["--workers", "many"], "flag --workers: a whole number is needed"),
        (["none.yml"], "cannot read none.yml"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(words: list[str], cause: str, tmp_path: Path) -> None:
    (line,) = fails("registry", "serve", "--addr", "127.0.0.1:0", "--root", tmp_path / "data", *words, code=2, folder=tmp_path)
    assert cause in line


def test_serve_says_where_and_ends_well(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*PROGRAM, "registry", "serve", "--addr", "127.0.0.1:0", "--root", str(tmp_path), "--workers", "1"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 0
    assert "http://127.0.0.1:" in line and str(tmp_path) in line


def test_fsck_of_an_empty_folder(tmp_path: Path) -> None:
    done = run("registry", "fsck", "--root", tmp_path / "data")
    assert (done.returncode, done.stdout) == (0, "")


def test_the_database_is_brought_up_to_date(tmp_path: Path) -> None:
    root = ("--root", tmp_path)
    assert run("db", "current", *root).stdout == "none\n"
    before = run("db", "check", *root)
    assert before.returncode == 1 and before.stdout.startswith("missing: 0001")
    assert run("db", "upgrade", *root).stdout.splitlines()[0] == "0001"
    assert run("db", "upgrade", *root).stdout == ""
    assert run("db", "check", *root).stdout == "up to date\n"
    assert json.loads(run("db", "check", "-o", "json", *root).stdout) == {"missing": []}
    told = json.loads(run("db", "current", "-o", "json", *root).stdout)
    assert told["revision"] == told["newest"]


def test_a_rebuild_wants_a_yes(tmp_path: Path) -> None:
    assert fails("db", "rebuild", "--root", tmp_path, code=2) == ["cargohold: there is nobody to ask; say --yes"]
    assert run("db", "rebuild", "--root", tmp_path, "--yes").returncode == 0


def test_a_database_that_is_away_is_one_line(tmp_path: Path) -> None:
    (line,) = fails("db", "current", code=1, environ={"CARGOHOLD_DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/x"})
    assert line.startswith("cargohold: The database cannot be reached") and "hunter2" not in line


def test_memory_has_no_database() -> None:
    (line,) = fails("db", "current", code=2, environ={"CARGOHOLD_STORAGE_DRIVER": "inmemory"})
    assert "no database that outlives the server" in line
