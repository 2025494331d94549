"""What these tests stand on: a server with two workers on a bucket, its settings, its clients, and looks behind it.

Stage.program   `cargohold registry serve` (tests/program.py); its bucket and its PostgreSQL are behind gates
Stage.client    connections of their own; `on_both_workers` gives one to each
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from cargohold.config.settings import MIB, S3
from cargohold.names import Digest
from cargohold.testing.push import with_query
from tests.backends.gate import Gate
from tests.program import Program, free_port
from tests.storage.weed import raw_client

REPO = "team/app"
SEGMENT = 5 * MIB


class Stage:
    def __init__(self, folder: Path, s3: S3, bucket: Gate, *, database: str = "", **settings: str) -> None:
        self.s3, self.bucket, self.on_postgresql = s3, bucket, bool(database)
        self.admin = f"http://127.0.0.1:{(port := free_port())}"
        self.program = Program(folder, workers=2, **self._settings(database, port) | settings)
        self._raw = raw_client(s3)

    def _settings(self, database: str, admin: int) -> dict[str, Any]:
        return {
            "STORAGE_DRIVER": "s3",
            "STORAGE_S3_BUCKET": self.s3.bucket,
            "STORAGE_S3_REGIONENDPOINT": self.bucket.url,
            "STORAGE_S3_ACCESSKEY": self.s3.accesskey,
            "STORAGE_S3_SECRETKEY": self.s3.secretkey,
            "STORAGE_S3_ROOTDIRECTORY": self.s3.rootdirectory,
            "STORAGE_S3_SEGMENT": str(SEGMENT),
            "DATABASE_URL": database,
            "ADMIN_ADDR": f"127.0.0.1:{admin}",
        }

    @contextmanager
    def client(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=f"http://127.0.0.1:{self.program.port}", timeout=60, trust_env=False) as client:
            yield client

    @contextmanager
    def on_both_workers(self) -> Iterator[tuple[httpx.Client, httpx.Client]]:
        """Two clients whose connections are held by different workers; the first half of a request id is its worker's."""
        found: dict[str, httpx.Client] = {}
        made: list[httpx.Client] = []
        try:
            while len(found) < 2:
                assert len(made) < 300, "one worker takes all connections"
                client = httpx.Client(base_url=f"http://127.0.0.1:{self.program.port}", timeout=60, trust_env=False)
                made.append(client)
                found.setdefault(client.get("/v2/").headers["X-Request-Id"].partition("-")[0], client)
            first, second = found.values()
            yield first, second
        finally:
            for client in made:
                client.close()

    def unready(self) -> list[str]:
        """Why /readyz is red; empty when it is not."""
        answer = httpx.get(f"{self.admin}/readyz", trust_env=False)
        return [] if answer.status_code == 200 else list(answer.json()["reasons"])

    # Behind the server

    def keys(self, below: str = "") -> list[str]:
        prefix = f"{self.s3.rootdirectory}/{below}"
        pages = self._raw.get_paginator("list_objects_v2").paginate(Bucket=self.s3.bucket, Prefix=prefix)
        return [item["Key"].removeprefix(f"{self.s3.rootdirectory}/") for page in pages for item in page.get("Contents", [])]

    def put(self, key: str, data: bytes) -> None:
        self._raw.put_object(Bucket=self.s3.bucket, Key=f"{self.s3.rootdirectory}/{key}", Body=data)

    def half_done(self) -> list[str]:
        """Keys of multipart uploads that are neither complete nor aborted."""
        found: Any = self._raw.list_multipart_uploads(Bucket=self.s3.bucket, Prefix=self.s3.rootdirectory)
        return [upload["Key"] for upload in found.get("Uploads", [])]


def start(client: httpx.Client, repository: str = REPO) -> str:
    opened = client.post(f"/v2/{repository}/blobs/uploads/")
    assert opened.status_code == 202, opened.text
    return str(opened.headers["Location"])


def patch(client: httpx.Client, location: str, data: bytes, first: int) -> httpx.Response:
    return client.patch(location, content=data, headers={"Content-Range": f"{first}-{first + len(data) - 1}"})


def finish(client: httpx.Client, location: str, data: bytes) -> httpx.Response:
    return client.put(with_query(location, digest=Digest.of(data)))


def stands_at(client: httpx.Client, location: str) -> int:
    """Bytes that the session has."""
    status = client.get(location)
    assert status.status_code == 204, status.text
    last = int(status.headers["Range"].removeprefix("0-"))
    return last + 1 if last else 0


def until(condition: Any, why: str, patience: float = 20.0) -> None:
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, why
        time.sleep(0.05)
