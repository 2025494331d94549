"""Logs without secrets, the access log's forms, and counters that add up."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cargohold.telemetry import log, metrics, request_scope, set_up
from cargohold.telemetry.access import ATOMIC, AccessLog, Entry
from cargohold.telemetry.exposition import render
from cargohold.telemetry.scrub import REMOVED, is_secret, scrub_query, scrub_text, scrub_value

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c2lnbmF0dXJl"
SECRETS = [
    "hunter2secret", TOKEN, "dXNlcjpodW50ZXIy", "c0ffeeSignature", "MIIEvQIBADANBg", "refreshme12345",
]  # fmt: skip
LEAKS: list[dict[str, object]] = [
    {"header": "Bearer " + TOKEN},
    {"header": "Basic dXNlcjpodW50ZXIy"},
    {"authorization": "hunter2secret"},
    {"headers": [(b"authorization", b"hunter2secret"), (b"host", b"x")]},
    {"headers": {"Authorization": "hunter2secret", "Cookie": "hunter2secret"}},
    {"settings": {"database": {"url": "postgresql://user:hunter2secret@host/db"}, "s3": {"secretkey": "hunter2secret"}}},
    {"url": "https://user:hunter2secret@host/path"},
    {"target": "/v2/a/blobs/uploads/1?_state=hunter2secret&digest=sha256:abc"},
    {"location": "https://bucket/x?X-Amz-Credential=hunter2secret%2F&X-Amz-Signature=c0ffeeSignature&X-Amz-Date=1"},
    {"query": "service=x&access_token=hunter2secret"},
    {"body": '{"token": "hunter2secret", "refresh_token":"refreshme12345"}'},
    {"text": f"got {TOKEN}, refused"},
    {"pem": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"},
    {"db_password": "hunter2secret", "client_secret": "hunter2secret", "identity_token": "hunter2secret"},
    {"bytes": b"Authorization: Basic dXNlcjpodW50ZXIy"},
    {"deep": [[{"password": ["hunter2secret"]}]]},
]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    set_up("warn")


@pytest.mark.parametrize("formatter", ["text", "json"])
@pytest.mark.parametrize("fields", LEAKS, ids=lambda fields: next(iter(fields)))
def test_no_secret_reaches_a_line(formatter: str, fields: dict[str, object], capfd: pytest.CaptureFixture[str]) -> None:
    set_up("debug", formatter)
    log.info("told", **fields)
    log.info(f"in the message: {fields}")
    logging.getLogger("sqlalchemy.pool").error("in a library: %s", fields)
    try:
        raise ValueError(str(fields))
    except ValueError:
        log.exception("raised")
    written = capfd.readouterr().err
    assert written.count("told") == 1
    assert REMOVED in written
    for secret in SECRETS:
        assert secret not in written


def test_what_is_no_secret_stays() -> None:
    for text in ("sha256:" + "a" * 64, "/v2/team/app/manifests/latest", "digest=sha256:abc&n=5", "the basic rule", "tokens: 5 expired"):
        assert scrub_text(text) == text
    assert scrub_query("n=5&last=a&_state=x") == f"n=5&last=a&_state={REMOVED}"
    assert scrub_value({"repository": "a", "n": 5, "ok": True, "none": None}) == {"repository": "a", "n": 5, "ok": True, "none": None}
    assert [name for name in ("digest", "repository", "key", "actor", "tokens", "path") if is_secret(name)] == []


def test_lines_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json", {"service": "registry"})
    with request_scope("ab12-3"):
        log.warning("blob missing", digest="sha256:abc", size=5)
    log.debug("not at this level")
    (line,) = map(json.loads, capfd.readouterr().err.splitlines())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "msg": "blob missing",
        "digest": "sha256:abc",
        "size": 5,
        "request": "ab12-3",
        "service": "registry",
    }


def test_lines_as_text_stay_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    set_up("info", "text")
    log.info("two\nlines", value="a\r\nb c")
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith('info    two\\nlines  value="a\\r\\nb c"')


def entry(**more: str) -> Entry:
    facts = Entry("10.0.0.1", "alice", "GET", "/v2/a/manifests/b", "", 200, 12, 0, 0.0012, "manifest", "", "docker/27", "id-1")
    return facts._replace(**more)  # type: ignore[arg-type]  # only text fields are replaced


def lines_of(form: str, *entries: Entry) -> list[str]:
    reading, writing = os.pipe()
    access = AccessLog(form, writing)
    for each in entries:
        access.write(each)
    access.flush()
    os.close(writing)
    with open(reading, "rb") as file:
        return file.read().decode().splitlines()


def test_the_combined_form() -> None:
    plain, odd = lines_of("combined", entry(), entry(actor="", query="_state=hunter2&n=1", agent='a"b\r\nc\\', path="/ä"))
    head, _, rest = plain.partition(" [")
    assert head == "10.0.0.1 - alice"
    assert rest.partition("] ")[2] == '"GET /v2/a/manifests/b HTTP/1.1" 200 12 "" "docker/27"'
    assert odd.partition("] ")[2] == f'"GET /\\xe4?_state={REMOVED}&n=1 HTTP/1.1" 200 12 "" "a\\x22b\\x0d\\x0ac\\x5c"'


def test_the_json_form() -> None:
    (line,) = map(json.loads, lines_of("json", entry(query="token=hunter2")))
    assert line.pop("time") > 0
    assert line == {
        "client": "10.0.0.1", "actor": "alice", "method": "GET", "path": "/v2/a/manifests/b", "query": f"token={REMOVED}", "status": 200,
        "bytes": 12, "received": 0, "seconds": 0.0012, "route": "manifest", "agent": "docker/27", "request": "id-1",
    }  # fmt: skip


@pytest.mark.parametrize("form", ["combined", "json"])
@pytest.mark.parametrize("sign", ['"', "\\", "é", "x"])
def test_no_line_is_longer_than_a_pipe_takes_at_once(form: str, sign: str) -> None:
    """A longer one would wait for a reader that stalls, and the whole worker with it."""
    reading, writing = os.pipe()
    access = AccessLog(form, writing)
    long = sign * 8000
    access.write(Entry("2001:db8::1", long, "GET", long, long, 200, 1, 1, 0.1, "manifest", long, long, "i" * 128))
    access.flush()
    assert 0 < len(os.read(reading, 65536)) <= ATOMIC
    os.close(reading)
    os.close(writing)


def test_a_reader_that_stalls_costs_lines_and_not_the_server() -> None:
    reading, writing = os.pipe()
    access = AccessLog("combined", writing)
    for _ in range(60_000):
        access.write(entry())
    assert access.dropped > 0
    assert os.get_blocking(writing)  # and still nobody was blocked
    os.close(reading)
    access.flush()
    os.close(writing)


def test_counters_add_up_over_processes_and_deaths(tmp_path: Path) -> None:
    folder = str(tmp_path)
    metrics.reset()
    for number in range(10):
        metrics.request_answered("blob", "GET", 200, 0, 100, 0.003 * number)
    metrics.request_answered("blob", "BREW", 418, 5, 0, 1000.0)
    metrics.in_flight.set(3)
    metrics.storage_errors.add("files", "read", by=2)
    metrics.db_write_seconds.observe(0.004)
    metrics.flush(folder)
    os.rename(tmp_path / f"{os.getpid()}.counts", tmp_path / "77.counts")
    metrics.flush(folder)
    twice = metrics.gather(folder)
    assert twice["cargohold_http_requests"]["blob", "GET", "200"] == [20.0]
    assert twice["cargohold_http_requests_in_flight"][()] == [6.0]
    metrics.fold(folder, 77)
    metrics.fold(folder, 77)
    after = metrics.gather(folder)
    assert after["cargohold_http_requests"] == {("blob", "GET", "200"): [20.0], ("blob", "OTHER", "418"): [2.0]}
    assert after["cargohold_http_requests_in_flight"][()] == [3.0]
    assert after["cargohold_storage_errors"]["files", "read"] == [4.0]
    assert sum(after["cargohold_http_request_duration_seconds"][("blob",)][1:]) == 22
    families = {family.name: family for family in text_string_to_metric_families(render(folder).decode())}
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["cargohold_http_request_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert (buckets["0.005"], buckets["0.01"], buckets["300.0"], buckets["+Inf"]) == (4, 8, 20, 22)
    metrics.reset()


def test_label_sets_are_bounded(tmp_path: Path) -> None:
    metrics.reset()
    for number in range(metrics.LABEL_SETS * 2):
        metrics.auth_failures.add(f"endpoint-{number}")
    metrics.flush(str(tmp_path))
    found = metrics.gather(str(tmp_path))["cargohold_auth_failures"]
    assert len(found) == metrics.LABEL_SETS + 1
    assert found[("other",)] == [metrics.LABEL_SETS]
    metrics.reset()


def test_labels_are_those_that_were_declared() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        metrics.storage_errors.add("files")


def test_damaged_counts_do_not_break_the_page(tmp_path: Path) -> None:
    (tmp_path / "1.counts").write_bytes(b"\xff\xff")
    assert b"cargohold_http_requests" in render(str(tmp_path))
    metrics.flush(str(tmp_path / "gone"))
