"""Command line of the run: `python -m interop [--against docker-registry] [--only NAME,NAME] [--keep]`.

Outside: install the Debian packages, make the work folder, go inside (sandbox.py). Inside: start the Go builds in the background,
drive one client after the other, print the table. `--against docker-registry` drives that server instead of ours: it tells a
wrong scenario from a wrong server.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from interop import install, sandbox
from interop.clients.buildah import Buildah
from interop.clients.conformance import Conformance
from interop.clients.containerd import Containerd
from interop.clients.crane import Crane
from interop.clients.docker import Docker
from interop.clients.documents import Documents
from interop.clients.helm import Helm
from interop.clients.oras import Oras
from interop.clients.podman import Podman
from interop.clients.regctl import Regctl
from interop.clients.skopeo import Skopeo
from interop.kit import Client, Kit
from interop.layout import Layout
from interop.outcome import Outcome, attempt, line, report

CLIENTS: tuple[type[Client], ...] = (Docker, Podman, Buildah, Skopeo, Containerd, Layout, Crane, Oras, Regctl, Conformance, Helm, Documents)
APT = "INTEROP_APT"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m interop", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", choices=("cargohold", "docker-registry"), default="cargohold", help="server under test")
    parser.add_argument("--only", default="", help="names of clients, with commas")
    parser.add_argument("--keep", action="store_true", help="keep the work folder with configs and logs")
    return parser.parse_args()


def drive(kit: Kit, kind: type[Client]) -> Iterator[Outcome]:
    """Every scenario of one client; when the client is missing or does not start, one line that says so."""
    missing = [problem for name in kind.needs if (problem := kit.programs.problem(name))]
    if kind.sandboxed and not kit.sandboxed:
        missing.append(sandbox.possible() or "needs the private view of /etc")
    if missing:
        yield Outcome(kind.name, "-", "all of its scenarios", "not run", detail="; ".join(missing))
        return
    try:
        client = kind(kit)
        client.open()
        version = client.version()
    except Exception as failure:
        yield Outcome(kind.name, "-", "start", "FAILED", detail=f"{type(failure).__name__}: {str(failure)[-1000:]}")
        return
    for title, step in client.scenarios():
        yield attempt(kind.name, version, title, step)
    yield from (outcome for outcome in [attempt(kind.name, version, "clean end", client.close)] if outcome.verdict == "FAILED")


def inside(options: argparse.Namespace, work: Path) -> int:
    programs = install.Programs(os.environ[APT])
    programs.build()
    wanted = [kind for kind in CLIENTS if not options.only or kind.name in options.only.split(",")]
    kit = Kit(work, programs, options.against)
    began, outcomes = time.monotonic(), list[Outcome]()
    try:
        for kind in wanted:
            for outcome in drive(kit, kind):
                outcomes.append(outcome)
                print(line(outcome), flush=True)
    finally:
        kit.close()
    print(f"\n{len(outcomes)} scenarios against {options.against} in {time.monotonic() - began:.0f} s")
    return report(outcomes)


def main() -> int:
    options = arguments()
    if APT not in os.environ:
        began = time.monotonic()
        os.environ[APT] = install.packages()
        print(f"packages: {os.environ[APT] or 'all there'} ({time.monotonic() - began:.0f} s)", flush=True)
    if not sandbox.inside() and not sandbox.possible():
        sandbox.enter(Path(tempfile.mkdtemp(prefix="interop-")), sys.argv[1:])
    work = sandbox.folder() if sandbox.inside() else Path(tempfile.mkdtemp(prefix="interop-"))
    work.chmod(0o755)
    if sandbox.inside():
        sandbox.cover(work)
    try:
        return inside(options, work)
    finally:
        if options.keep:
            print(f"kept: {work}", file=sys.stderr)
        else:
            shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
