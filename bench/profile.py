"""Where our time per request goes: `python -m bench.profile [--row push-8] [--lines 25]`.

One worker of ours runs under cProfile, each of its threads with a profile of its own, and gets the load of a row. Printed:
processor time per request by thread without the profiler (from /proc, a first run), then the functions by their own time,
per request. The profiler about doubles the time of small functions: read shares and calls, not sums.

The server half of this file (`--serve`) is started as a subprocess by the other half.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import click

from bench import clients, seed, watch
from bench.credentials import Credentials
from bench.measure import Sample
from bench.rows import ALL
from bench.seed import APP
from bench.servers import MANIFEST, Server, cargohold
from cargohold import cli
from cargohold.http import supervisor, worker

_SECONDS = 3.0


def _profiled_workers(target: str) -> None:
    """From here on each forked worker writes one profile per thread to `target`.<pid>.<n> as it ends."""
    work = worker.work

    def profiled(post: Any) -> int:
        profiles: list[cProfile.Profile] = []

        def hook(frame: FrameType, event: str, argument: object) -> None:
            profiles.append(cProfile.Profile())
            profiles[-1].enable()

        threading.setprofile(hook)
        profiles.append(cProfile.Profile())
        profiles[0].enable()
        try:
            return work(post)
        finally:
            profiles[0].disable()
            if post.role != "admin":
                for number, profile in enumerate(profiles):
                    profile.snapshot_stats()
                    profile.create_stats = lambda: None  # type: ignore[method-assign] # it would switch off the wrong thread
                    profile.dump_stats(f"{target}.{os.getpid()}.{number}")

    setattr(supervisor, "work", profiled)  # noqa: B010 - the name is not re-exported, and that is no reason to make it so


def _drive(row: str, server: Server, content: seed.Seed, folder: Path) -> tuple[Sample, float]:
    """The load of a row against one server, and how many requests or images it was."""
    if row.startswith("push-"):
        plan = folder / "plan"
        seed.plan(plan, 6000)
        sample = clients.push(server, plan, clients=int(row.partition("-")[2]), seconds=_SECONDS)
        return sample, sample.rate * _SECONDS
    if row.startswith("upload-"):
        sample = clients.upload(server, clients.Layer(512 * clients.MIB), chunked=row != "upload-length")
        return sample, 0.5
    manifest, four = f"/v2/{APP}/manifests/small", f"/v2/{APP}/blobs/{content.digests['4k']}"
    method, path = {
        "base": ("GET", "/v2/"),
        "head-manifest": ("HEAD", manifest),
        "get-manifest": ("GET", manifest),
        "blob-4k": ("GET", four),
        "head-blob": ("HEAD", four),
        "blob-1m": ("GET", f"/v2/{APP}/blobs/{content.digests['1m']}"),
    }[row]
    sample = clients.load(server, path, seconds=_SECONDS, method=method, headers={"Accept": MANIFEST})
    return sample, sample.rate * _SECONDS


def _threads(server: Server) -> dict[str, float]:
    """Processor seconds of each thread of the group, by `<pid>/<tid>`."""
    used: dict[str, float] = {}
    for pid in watch.members(server.pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            fields = (task / "stat").read_text().rpartition(")")[2].split()
            used[f"{pid}/{task.name}"] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def _by_thread(row: str, folder: Path, content: seed.Seed, credentials: Credentials, database: str) -> None:
    server = cargohold("plain", folder, folder / "plain", credentials, workers=1, database=database)
    try:
        seed.Pusher(server).image(content, large=False)
        before = _threads(server)
        sample, count = _drive(row, server, content, folder)
        after = _threads(server)
    finally:
        server.stop()
    print(f"{row}: {sample.rate:,.0f} {sample.unit}, {sample.cpu:,.0f} us or s/GiB each, p50 {sample.p50_ms:.3g} ms, bad {sample.bad}")
    print("processor time by thread, us per request or image (loop first, the rest are storage, hashing and database threads):")
    for name, used in after.items():
        spent = used - before.get(name, 0.0)
        if spent > 0.01:
            pid, _, tid = name.partition("/")
            print(f"  {spent / count * 1e6:10,.1f}  {'loop ' if pid == tid else 'other'} {name}")


def _by_function(row: str, folder: Path, content: seed.Seed, credentials: Credentials, lines: int, database: str) -> None:
    target = folder / "profile"
    environment = (sys.executable, "-m", "bench.profile", "--serve", str(target))
    server = cargohold("profiled", folder, folder / "profiled", credentials, workers=1, database=database, program_line=environment)
    try:
        seed.Pusher(server).image(content, large=False)
        _, count = _drive(row, server, content, folder)
    finally:
        server.stop(patience=40)
        time.sleep(0.2)
    found = sorted(folder.glob("profile.*"))
    main = [path for path in found if path.name.endswith(".0")]
    for title, paths in (("the loop", main), ("all other threads", [path for path in found if path not in main])):
        if paths:
            _print(title, pstats.Stats(*map(str, paths)), count, lines)


def _print(title: str, stats: pstats.Stats, count: float, lines: int) -> None:
    rows: list[tuple[float, float, float, str]] = []
    table: dict[tuple[str, int, str], Any] = stats.stats  # type: ignore[attr-defined] # public in practice, not in typeshed
    for (path, line, name), (_, calls, own, cumulative, _) in table.items():
        where = path.rpartition("site-packages/")[2].rpartition("src/")[2] if path != "~" else ""
        rows.append((own, cumulative, calls, f"{where}:{line} {name}" if where else name))
    print(f"\n{title}: own us, cumulative us, calls - per request or image, under the profiler")
    for own, cumulative, calls, name in sorted(rows, reverse=True)[:lines]:
        print(f"  {own / count * 1e6:9.1f} {cumulative / count * 1e6:9.1f} {calls / count:7.2f}  {name}")


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True}, help=__doc__)
@click.option(
    "--row", default="push-8", show_default=True, help="A row of the bench that is plain load: base, head-manifest, blob-4k, push-8 ..."
)
@click.option("--lines", default=25, show_default=True)
@click.option("--serve", default="", help="Internal: serve under the profiler, profiles go to this path.")
@click.argument("rest", nargs=-1, type=click.UNPROCESSED)
def main(row: str, lines: int, serve: str, rest: tuple[str, ...]) -> None:
    if serve:
        _profiled_workers(serve)
        sys.argv = ["cargohold", *rest]
        cli.main()
        return
    known = {known.name for known in ALL}
    if row not in known and not row.startswith("push-"):
        raise click.BadParameter(f"no such row: {row}")
    clients.compile_clients()
    with tempfile.TemporaryDirectory(prefix="cargohold-profile-") as name:
        folder = Path(name)
        credentials, content = Credentials(folder), seed.make()
        _by_thread(row, folder, content, credentials, "")
        _by_function(row, folder, content, credentials, lines, "")


if __name__ == "__main__":
    main()
