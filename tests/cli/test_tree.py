"""Rules for the whole tree of commands, present and to come."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cargohold.cli.groups import GROUPS, cargohold
from cargohold.cli.reference import commands
from tests.cli.program import PROGRAM, fails, run

TREE = list(commands())
NAMES = [" ".join(words) for words, _ in TREE]


@pytest.mark.parametrize(("words", "command"), TREE, ids=NAMES)
def test_a_command_explains_itself(words: tuple[str, ...], command: click.Command) -> None:
    help = command.help or ""
    assert help.strip().endswith("."), "help is a sentence"
    assert len(help.split()) >= 4
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert (option.help or "").endswith("."), f"{option.name} has a line of help"
            assert all(flag == flag.lower() for flag in option.opts)


@pytest.mark.parametrize(("words", "command"), [row for row in TREE if isinstance(row[1], click.Group)], ids=lambda value: str(value))
def test_a_group_has_commands(words: tuple[str, ...], command: click.Group) -> None:
    assert command.list_commands(click.Context(command))


@pytest.mark.parametrize("words", NAMES)
def test_the_help_of_every_command_can_be_asked_for(words: str) -> None:
    for flag in ("--help", "-h"):
        done = CliRunner().invoke(cargohold, [*words.split()[1:], flag], prog_name="cargohold")
        assert done.exit_code == 0 and done.output.startswith(f"Usage: {words}")


def test_a_flag_means_the_same_everywhere() -> None:
    seen: dict[str, tuple[str, bool]] = {}
    for _, command in TREE:
        for option in command.params:
            if isinstance(option, click.Option) and "--output" not in option.opts:
                told = (str(option.type), option.is_flag)
                assert seen.setdefault(option.opts[-1], told) == told


def test_the_root_tells_of_its_groups_without_loading_them() -> None:
    script = "import sys; from cargohold.cli import main\ntry: main()\nfinally: print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, check=False)
    assert all(name in done.stdout for name in GROUPS)
    assert not [name for name in ("cargohold.config.load", "cargohold.app", "sqlalchemy", "msgspec", "yaml") if f"'{name}'" in done.stderr]


def test_help_starts_fast() -> None:
    """Processor time of the whole process, the best of five: a busy machine must not fail this."""
    best = min(_processor_seconds("--help") for _ in range(5))
    assert best < 0.3, "a module is imported that --help does not need"


def _processor_seconds(*words: str) -> float:
    process = subprocess.Popen([*PROGRAM, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_version() -> None:
    name, version = run("--version").stdout.split()
    assert name == "cargohold" and version.count(".") >= 1


@pytest.mark.parametrize("words", ["nonsense", "registry nonsense", "registry serve --nonsense", "registry serve a b"])
def test_wrong_usage_ends_with_2(words: str) -> None:
    assert fails(*words.split(), code=2)


def test_a_reader_that_leaves_early_is_no_traceback() -> None:
    with subprocess.Popen([*PROGRAM, "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.read(1)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
