"""What became of each scenario, and the table at the end.

A scenario passes, fails (any error, with the end of what the client printed) or is not run (`NotRun`, with the reason). The
last line of a run is `N passed, N failed` alone; what was not run is counted on the line before it and never as passed.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Literal

from interop.shell import CommandFailed

Verdict = Literal["passed", "FAILED", "not run"]


class NotRun(Exception):
    """This scenario says nothing here; the text is the reason."""


@dataclass(frozen=True)
class Outcome:
    client: str
    version: str
    scenario: str
    verdict: Verdict
    seconds: float = 0.0
    detail: str = ""


def attempt(client: str, version: str, scenario: str, step: Callable[[], None]) -> Outcome:
    began = perf_counter()
    verdict: Verdict = "passed"
    detail = ""
    try:
        step()
    except NotRun as reason:
        verdict, detail = "not run", str(reason)
    except CommandFailed as failure:
        verdict, detail = "FAILED", str(failure)
    except Exception as failure:
        verdict, detail = "FAILED", "".join(traceback.format_exception(failure)[-3:])
    return Outcome(client, version, scenario, verdict, perf_counter() - began, detail)


def line(outcome: Outcome) -> str:
    note = f" ({outcome.detail})" if outcome.verdict == "not run" else ""
    return f"{outcome.client:<12} {outcome.version:<11} {outcome.verdict:<8} {outcome.seconds:5.1f} s  {outcome.scenario}{note}"


def report(outcomes: Sequence[Outcome]) -> int:
    """Prints failures in full, the table, and the last line; returns the exit code."""
    failed = [outcome for outcome in outcomes if outcome.verdict == "FAILED"]
    passed = sum(outcome.verdict == "passed" for outcome in outcomes)
    for outcome in failed:
        print(f"\n== {outcome.client}: {outcome.scenario}\n{outcome.detail.rstrip()}")
    print(f"\n{'client':<12} {'version':<11} {'result':<8} {'time':>7}  scenario")
    for outcome in outcomes:
        print(line(outcome))
    print(f"\n{len(outcomes) - passed - len(failed)} not run")
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed or not passed else 0
