"""What a row is, and the two things that most rows do: check a body, then run rounds of one request."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import msgspec

from bench import clients, measure
from bench.measure import Sample, Series
from bench.seed import digest_of
from bench.servers import Missing, Server
from bench.stage import Stage


class Row(NamedTuple):
    name: str
    """The word for --only, and the key of targets.py."""
    title: str
    run: Callable[[Stage], Series]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One fixed request and what its answer must be."""

    path: str
    method: str = "GET"
    length: int = -1
    """Of the body; -1: taken from the checked answer, so that every server must keep to its own."""
    digest: str = ""
    """Of the body of a GET; empty: see `words`."""
    words: str = ""
    """JSON list that must be in the answer, a JSON object."""
    headers: dict[str, str] = {}
    connections: int = 16
    by_bytes: bool = False
    status: int = 200


def check(server: Server, request: Request) -> int:
    """Asks once, compares the whole body; the length that each answer must have. Wrong: `RuntimeError`."""
    status, headers, body = server.request(request.method, request.path, headers=request.headers)
    length = int(headers["Content-Length"] or 0) if request.method == "HEAD" else len(body)
    told = f"{server.name}: {request.method} {request.path}: {status}, {length} bytes"
    if status != request.status or (request.length >= 0 and length != request.length):
        raise RuntimeError(f"{told}, wanted {request.status} and {request.length}")
    if request.digest and request.method == "GET" and digest_of(body) != request.digest:
        raise RuntimeError(f"{told}: wrong bytes")
    if request.words and not _holds(json.loads(body), json.loads(request.words)):
        raise RuntimeError(f"{told}: wrong list: {body[:300]!r}")
    return -3 if 300 <= request.status < 400 else length


def _holds(told: dict[str, object], wanted: list[str]) -> bool:
    """The page itself; or the whole list, which is what registry:2 answers to a page of tags."""
    return any(page == wanted or (len(page) > len(wanted) and set(page) >= set(wanted)) for page in told.values() if isinstance(page, list))


def sides(stage: Stage, names: tuple[str, ...], ours: str) -> tuple[dict[str, Server], list[str]]:
    """The servers that could be started, and a note for each that could not. Without ours there is no row."""
    found: dict[str, Server] = {}
    notes: list[str] = []
    for name in names:
        try:
            found[name] = stage.server(name)
        except Missing as missing:
            if name == ours:
                raise
            notes.append(f"without {name}: {missing}")
    return found, notes


def loaded(stage: Stage, op: str, request: Request, names: tuple[str, ...], *, ours: str, seconds: float = 0) -> Series:
    """Rounds of one request over plain HTTP by the C client."""
    servers, notes = sides(stage, names, ours)
    lengths = {name: check(server, request) for name, server in servers.items()}
    lasting = seconds or stage.seconds

    def sample(name: str, turn: int, *, lasting: float = lasting) -> Sample:
        return clients.load(
            servers[name],
            request.path,
            seconds=lasting,
            method=request.method,
            connections=request.connections,
            expected=lengths[name],
            headers=request.headers,
            by_bytes=request.by_bytes,
        )

    for name in servers:
        sample(name, -1, lasting=0.15)
    samples = measure.rounds({name: partial(sample, name) for name in servers}, stage.rounds)
    return Series(op=op, ours=ours, samples=samples, notes=notes)
