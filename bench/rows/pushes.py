"""Small images pushed the way docker does it, fsync as both sides have it by default; 1, 8 and 32 clients."""

from __future__ import annotations

import os
from functools import partial

from bench import clients, measure, seed
from bench.measure import Sample, Series
from bench.rows.row import Row, sides
from bench.stage import OURS, REGISTRY, Stage

_MOST_PER_SECOND = 1200
"""Images made ready for each second of a round; a plan that is used up is told in the notes."""


def pushed(stage: Stage, op: str, count: int, names: tuple[str, ...], *, ours: str, seconds: float) -> Series:
    """Every round has a plan of its own, the same for all sides, so that no blob is known beforehand."""
    servers, notes = sides(stage, names, ours)
    plans = [stage.folder / f"{op}-{turn}.plan" for turn in range(-1, stage.rounds)]
    for path in plans:
        seed.plan(path, int(_MOST_PER_SECOND * seconds) + count)

    def sample(name: str, turn: int, *, lasting: float = seconds) -> Sample:
        os.sync()
        return clients.push(servers[name], plans[turn + 1], clients=count, seconds=lasting)

    for name in servers:
        sample(name, -1, lasting=0.3)
    samples = measure.rounds({name: partial(sample, name) for name in servers}, stage.rounds)
    for path in plans:
        path.unlink()
    notes += sorted({sample.note for side in samples.values() for sample in side if sample.note})
    return Series(op=op, ours=ours, samples=samples, notes=notes)


def _run(count: int, stage: Stage) -> Series:
    seconds = (0.8 if count < 32 else 1.2) if stage.quick else (1.2 if count < 32 else 2.0)
    return pushed(stage, f"push-{count}", count, (REGISTRY, OURS), ours=OURS, seconds=seconds)


ROWS = tuple(
    Row(f"push-{count}", f"push of a small image, {count} client{'s' if count > 1 else ''}", partial(_run, count)) for count in (1, 8, 32)
)
