"""kill -9 of everything at a random moment, under sixteen pushing clients; then a start on the same folder, and a look.

CARGOHOLD_KILL_SEED changes the dice. 50 rounds on SQLite run in `make test`, some on PostgreSQL; `make soak` does 1,000.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

import pytest

from tests import postgres
from tests.durability.clients import Client, Memory
from tests.durability.witness import Witness, sample
from tests.program import Program

SEED = int(os.environ.get("CARGOHOLD_KILL_SEED", "1"))
CLIENTS = 16
LONGEST = 3.0


class Storm:
    """Rounds of: start, push, kill, start, compare."""

    def __init__(self, program: Program, seed: int) -> None:
        self.program, self.dice = program, random.Random(seed)
        self.memories = [Memory() for _ in range(CLIENTS)]

    def round(self) -> None:
        states = [{digest: there for digest, (_, there) in memory.manifests.items()} for memory in self.memories]
        enough = threading.Event()
        clients = [
            Client(number, self.program.port, memory, self.dice.randrange(1 << 30), enough) for number, memory in enumerate(self.memories)
        ]
        for client in clients:
            client.start()
        self.wait_for_a_moment()
        self.program.kill()
        enough.set()
        for client in clients:
            client.join(20)
            assert not client.is_alive() and not client.fault, f"{client.name}: {client.fault or 'hangs'}"
        self.program.start()
        self.compare(states)

    def wait_for_a_moment(self) -> None:
        """Some acknowledged pushes, counted rather than timed so that a slow machine is no calm one, and a bit more."""
        enough = sum(memory.acknowledged for memory in self.memories) + self.dice.randint(1, 30)
        until = time.monotonic() + LONGEST
        while sum(memory.acknowledged for memory in self.memories) < enough and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(self.dice.uniform(0, 0.1))

    def compare(self, before: list[dict[str, bool | None]]) -> None:
        witness = Witness(self.program.port, self.program.root)
        for memory, known in zip(self.memories, before, strict=True):
            fresh = {digest for digest, (_, there) in memory.manifests.items() if known.get(digest) != there or digest not in known}
            witness.compare(memory, sample(memory, fresh, self.dice, older=2))
        witness.shared(self.memories)

    def everything(self) -> int:
        """All that was ever acknowledged, at the end; how many manifests that is."""
        witness = Witness(self.program.port, self.program.root)
        for memory in self.memories:
            witness.compare(memory, sorted(memory.manifests))
        assert witness.no_torn_file() > 0
        return sum(memory.acknowledged for memory in self.memories)


def run(program: Program, rounds: int, seed: int) -> None:
    program.start()
    storm = Storm(program, seed)
    for _ in range(rounds):
        storm.round()
    acknowledged = storm.everything()
    program.stop()
    assert acknowledged > 3 * rounds, "the clients hardly pushed anything: this run shows nothing"


@pytest.mark.parametrize("half", [1, 2])
def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path, half: int) -> None:
    run(Program(tmp_path, workers=2), 25, SEED * 100 + half)


def test_what_was_acknowledged_outlives_kill_9_on_postgresql(tmp_path: Path, postgres_server: postgres.Server) -> None:
    name = postgres_server.create()
    run(Program(tmp_path, workers=2, DATABASE_URL=postgres_server.url(name)), 6, SEED)
    postgres_server.drop(name)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_a_thousand_kills(tmp_path: Path, part: int) -> None:
    run(Program(tmp_path, workers=1 + part % 3), 50, SEED * 1000 + part)
