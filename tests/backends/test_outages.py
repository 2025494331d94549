"""The bucket or the PostgreSQL stops and comes back: what is refused meanwhile, what goes on, and that nothing needs a restart."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from cargohold.config.settings import MIB
from cargohold.names import Digest
from cargohold.testing.image import image
from cargohold.testing.push import pull, push
from tests.backends.gate import Gate
from tests.backends.stage import REPO, SEGMENT, Stage, finish, patch, stands_at, start, until
from tests.postgres import Server

LAYER = os.urandom(SEGMENT + 3 * MIB)
NEW = image(seed="new")


def refused(answer: httpx.Response) -> None:
    """503 in OCI's form, with the time after which it pays to ask again."""
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    if answer.request.method != "HEAD":
        (error,) = answer.json()["errors"]
        assert error["code"] == "UNAVAILABLE" and error["message"]


def whole(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post(f"/v2/{REPO}/blobs/uploads/", params={"digest": Digest.of(data)}, content=data)


def put(client: httpx.Client, tag: str) -> httpx.Response:
    return client.put(f"/v2/{REPO}/manifests/{tag}", content=NEW.body, headers={"Content-Type": NEW.media_type})


def is_red(stage: Stage, what: str) -> bool:
    reasons = stage.unready()
    return len(reasons) == 2 and all(what in reason for reason in reasons)


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_bucket_stops(stage: Stage) -> None:
    with stage.client() as client:
        made = image(seed="old")
        push(client, REPO, made, "old")
        push(client, "team/new", NEW, "new")
        for blob in NEW.blobs:
            assert client.post(f"/v2/{REPO}/blobs/uploads/?mount={blob.digest}&from=team/new").status_code == 201
        location = start(client)
        assert patch(client, location, LAYER[:SEGMENT], 0).status_code == 202
        assert stage.unready() == []

        stage.bucket.shut()
        began = time.monotonic()
        refused(patch(client, location, LAYER[SEGMENT:], SEGMENT))
        refused(whole(client, b"a new small blob"))
        refused(whole(client, os.urandom(6 * MIB)))
        refused(put(client, "new"))
        refused(client.get(f"/v2/{REPO}/blobs/{made.blobs[0].digest}"))
        assert time.monotonic() - began < 30, "an outage is told soon"
        for path in ("manifests/old", f"manifests/{made.digest}", "tags/list", f"referrers/{made.digest}"):
            assert client.get(f"/v2/{REPO}/{path}").status_code == 200
        assert client.head(f"/v2/{REPO}/blobs/{made.blobs[0].digest}").status_code == 200
        assert client.get(f"/v2/{REPO}/manifests/new").status_code == 404, "what was refused is not there"
        assert stands_at(client, location) == SEGMENT
        until(lambda: is_red(stage, "storage"), "/readyz stays green without its bucket")

        stage.bucket.open()
        until(lambda: patch(client, location, LAYER[SEGMENT:], SEGMENT).status_code == 202, "writes are refused for ever")
        assert finish(client, location, LAYER).status_code == 201
        assert put(client, "new").status_code == 201
        for reference in ("old", "new"):
            pull(client, REPO, reference)
        assert Digest.of(client.get(f"/v2/{REPO}/blobs/{Digest.of(LAYER)}").content) == Digest.of(LAYER)
        until(lambda: stage.unready() == [], "/readyz stays red")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_postgresql_stops_in_the_middle(stage: Stage, postgres_gate: Gate, postgres_server: Server, database: str) -> None:
    with stage.client() as client:
        made = image(seed="old")
        push(client, REPO, made, "old")
        location, lost = start(client), start(client)
        assert patch(client, location, LAYER[: SEGMENT + 10], 0).status_code == 202

        def body() -> Iterator[bytes]:
            """The database goes when the first segment has its row."""
            for begin in range(0, len(LAYER), 1 << 16):
                yield LAYER[begin : begin + (1 << 16)]
                if begin == 102 << 16:
                    until(lambda: any("/000000000000000-" in line and lost[-36:] in line for line in stage.bucket.seen), "no segment came")
                    postgres_gate.shut()

        refused(client.patch(lost, content=body()))
        refused(client.get(f"/v2/{REPO}/manifests/old"))
        refused(client.head(f"/v2/{REPO}/manifests/old"))
        refused(client.get(f"/v2/{REPO}/tags/list"))
        refused(client.get("/v2/_catalog"))
        refused(client.post(f"/v2/{REPO}/blobs/uploads/"))
        refused(patch(client, location, b"more", SEGMENT + 10))
        refused(finish(client, location, LAYER))
        refused(put(client, "new"))
        assert client.get("/v2/").status_code == 200
        until(lambda: is_red(stage, "database"), "/readyz stays green without its database")

        postgres_gate.open()
        for upload, least in ((location, SEGMENT + 10), (lost, 0)):
            at = stands_at(client, upload)
            assert at >= least
            assert patch(client, upload, LAYER[at:], at).status_code == 202
            assert finish(client, upload, LAYER).status_code == 201
        with psycopg.connect(postgres_server.url(), autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database.rpartition("/")[2]])
        assert pull(client, REPO, "old").digest == made.digest, "a dead connection is replaced before anybody hears of it"
        assert start(client)
        until(lambda: stage.unready() == [], "/readyz stays red")
