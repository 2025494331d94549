"""A server's processor time is that of its whole session, children included."""

from __future__ import annotations

import subprocess
import sys
import time

from bench import watch

_BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
_PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {_BURN!r} + "input()"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
input()
"""


def test_the_group_holds_the_children_and_their_time() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert watch.members(parent.pid) == sorted([parent.pid, child])
        deadline = time.monotonic() + 20
        while watch.cpu_seconds(parent.pid) < 0.3:
            assert time.monotonic() < deadline, "the child's time is not in the sum"
            time.sleep(0.05)
        assert set(watch.resident([parent.pid, child])) == {parent.pid, child}
    finally:
        parent.communicate("\n", timeout=20)
