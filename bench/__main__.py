"""`python -m bench`: runs the rows, prints the table. Exit status 1 when a target is failed or a row is void.

About eight minutes; `--quick` about two and a half; `--only blob-4k --only push` picks rows by the beginning of their names.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

from bench import clients, machine, report
from bench.measure import Series
from bench.report import History, Line
from bench.rows import ALL, Row
from bench.servers import Missing
from bench.stage import Stage

_FSYNC = [
    "docker-registry: always on (it has no switch): blobs, links and folders by its own rules",
    "cargohold: storage.sync full (files, folders and links), database.synchronous full; both are the defaults",
]


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="3 short rounds instead of 5.")
@click.option("--only", multiple=True, metavar="ROW", help="Rows whose name begins so; may be given often.")
@click.option("--list", "listing", is_flag=True, help="Print the names of the rows and stop.")
@click.option("--folder", type=click.Path(path_type=Path), default=None, help="Where to work; its disk is what fsync rows measure.")
@click.option(
    "--history",
    type=click.Path(path_type=Path),
    default=clients.TOOLS / "bench.jsonl",
    show_default=True,
    help="JSON lines are appended here.",
)
@click.option("--self-check", is_flag=True, help="docker-registry plays our part: each ratio to it should be about 1.")
def main(quick: bool, only: tuple[str, ...], listing: bool, folder: Path | None, history: Path, self_check: bool) -> None:
    chosen = [row for row in ALL if not only or row.name.startswith(only)]
    if listing or not chosen:
        print("\n".join(f"{row.name:24} {row.title}" for row in ALL))
        sys.exit(0 if listing else 2)
    try:
        clients.compile_clients()
    except Missing as missing:
        sys.exit(f"bench: {missing}: the load generators are C programs")
    began = time.monotonic()
    found = machine.describe(folder or Path(tempfile.gettempdir()))
    told = History(history, found)
    print(report.heading(found, _FSYNC), "", report.HEAD, sep="\n", flush=True)
    made: list[Line] = []
    notes: list[str] = []
    taken: dict[str, float] = {}
    with Stage(folder, quick=quick, self_check=self_check) as stage:
        for row in chosen:
            start = time.monotonic()
            series = _run(row, stage, notes)
            taken[row.name] = time.monotonic() - start
            if series is None:
                continue
            told.add(series)
            fresh = report.lines(row.title, series)
            print("\n".join(line.text for line in fresh), flush=True)
            notes += [f"{row.name}: {note}" for note in series.notes]
            made += fresh
    told.verdicts(made)
    notes.append("seconds by row: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in taken.items()))
    _close(made, notes, time.monotonic() - began)


def _run(row: Row, stage: Stage, notes: list[str]) -> Series | None:
    try:
        return row.run(stage)
    except Missing as missing:
        notes.append(f"{row.name}: NOT RUN: {missing}")
    except (RuntimeError, OSError) as error:
        notes.append(f"{row.name}: BROKEN: {str(error)[:400]}")
    return None


def _close(made: list[Line], notes: list[str], lasted: float) -> None:
    print("\n" + "\n".join(f"- {note}" for note in notes))
    bad = [line for line in made if line.verdict in (report.FAIL, report.VOID)]
    warned = [line for line in made if line.verdict == report.WARN]
    aimed = [line for line in made if line.verdict]
    broken = [note for note in notes if "BROKEN" in note]
    reached = len(aimed) - len(bad) - len(warned)
    print(f"\n{reached} of {len(aimed)} targets reached, {len(warned)} warnings, {len(bad)} failed or void; {lasted:.0f} s")
    for line in bad + warned:
        print(f"- {line.verdict}: {line.op} beside {line.versus or 'its bound'}, {line.metric}: {line.ratio}")
    sys.exit(1 if bad or broken else 0)


if __name__ == "__main__":
    main()
