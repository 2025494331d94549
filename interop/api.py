"""The registry asked without any client: what a scenario looks at after a push, and how it deletes.

One connection per request, Basic credentials, plain or TLS against the run's own CA. Errors of the wire are exceptions,
statuses are not: the caller compares them.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ANY_MANIFEST = ", ".join(
    [
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    ]
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def digest(self) -> str:
        return self.headers.get("docker-content-digest", "")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "")


def sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _blob(layout: Path, descriptor: Mapping[str, Any]) -> bytes:
    return layout.joinpath("blobs", *str(descriptor["digest"]).split(":")).read_bytes()


class Api:
    def __init__(self, url: str, *, user: str = "", password: str = "", authority: Path | None = None) -> None:
        self._url = urlsplit(url)
        self._authority = authority
        self._headers = {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()} if user else {}

    def ask(self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None) -> Answer:
        host, port = self._url.hostname or "", self._url.port or 0
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=60, context=ssl.create_default_context(cafile=self._authority))
        else:
            connection = http.client.HTTPConnection(host, port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=self._headers | (headers or {}))
            reply = connection.getresponse()
            return Answer(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
        finally:
            connection.close()

    def manifest(self, repository: str, reference: str) -> Answer:
        """A manifest that is there; its digest is checked against its bytes."""
        answer = self.ask("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ANY_MANIFEST})
        assert answer.status == 200, f"GET {repository}:{reference}: {answer.status} {answer.body[:300]!r}"
        assert answer.digest == sha256(answer.body), (
            f"{repository}:{reference}: Docker-Content-Digest {answer.digest} is not that of the body"
        )
        return answer

    def digest(self, repository: str, reference: str) -> str:
        return self.manifest(repository, reference).digest

    def gone(self, repository: str, reference: str) -> bool:
        return self.ask("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ANY_MANIFEST}).status == 404

    def delete(self, repository: str, reference: str) -> None:
        answer = self.ask("DELETE", f"/v2/{repository}/manifests/{reference}")
        assert answer.status == 202, f"DELETE {repository}:{reference}: {answer.status} {answer.body[:300]!r}"

    def push(self, layout: Path, descriptor: Mapping[str, Any], repository: str, reference: str) -> None:
        """One manifest of an OCI layout folder, with its blobs, as it is written there."""
        body = _blob(layout, descriptor)
        document = json.loads(body)
        for part in [document["config"], *document["layers"]]:
            begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
            location = begun.headers["location"]
            location += f"{'&' if '?' in location else '?'}digest={part['digest']}"
            answer = self.ask("PUT", location, body=_blob(layout, part), headers={"Content-Type": "application/octet-stream"})
            assert answer.status == 201, f"PUT {part['digest']}: {answer.status} {answer.body[:300]!r}"
        headers = {"Content-Type": str(descriptor["mediaType"])}
        answer = self.ask("PUT", f"/v2/{repository}/manifests/{reference}", body=body, headers=headers)
        assert answer.status == 201, f"PUT {repository}:{reference}: {answer.status} {answer.body[:300]!r}"

    def half_upload(self, repository: str, content: bytes) -> None:
        """An upload that is begun and never ended."""
        begun = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        answer = self.ask("PATCH", begun.headers["location"], body=content, headers={"Content-Type": "application/octet-stream"})
        assert answer.status == 202, answer

    def tags(self, repository: str) -> list[str]:
        answer = self.ask("GET", f"/v2/{repository}/tags/list")
        assert answer.status in (200, 404), f"tags of {repository}: {answer.status}"
        return sorted(answer.json().get("tags") or []) if answer.status == 200 else []

    def catalog(self) -> list[str]:
        answer = self.ask("GET", "/v2/_catalog?n=1000")
        assert answer.status == 200, f"catalog: {answer.status}"
        return list(answer.json()["repositories"])

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        answer = self.ask("GET", f"/v2/{repository}/referrers/{digest}")
        assert answer.status == 200, f"referrers of {digest}: {answer.status} {answer.body[:300]!r}"
        return list(answer.json()["manifests"])

    def whole(self, repository: str, reference: str) -> None:
        """Every blob and child that the manifest names is there, with the right bytes."""
        manifest = self.manifest(repository, reference).json()
        for child in manifest.get("manifests", []):
            self.whole(repository, child["digest"])
        for part in [manifest.get("config"), *manifest.get("layers", [])]:
            if part is None:
                continue
            answer = self.ask("GET", f"/v2/{repository}/blobs/{part['digest']}")
            assert answer.status == 200, f"blob {part['digest']} of {repository}: {answer.status}"
            assert sha256(answer.body) == part["digest"], f"blob {part['digest']} of {repository} has other bytes"
