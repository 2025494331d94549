"""Push and pull of `Image`s over httpx, as clients do it; one list of steps for the synchronous and the asynchronous client.

    digest = push(client, "team/app", image(), "1.0")            await apush(async_client, ...)
    copy = pull(client, "team/app", "1.0")                       await apull(async_client, ...)

`style` is how a blob travels: `docker` (HEAD, POST, PATCH without a range, empty PUT), `containerd` (HEAD, POST, PUT with the body)
or `single` (one POST). A wrong answer raises `Refused` with the response. What is pulled is compared with its digest.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

import httpx

from cargohold.names import Digest
from cargohold.testing.image import DOCKER_IMAGE, DOCKER_LIST, OCI_IMAGE, OCI_INDEX, Blob, Image

Style = Literal["docker", "containerd", "single"]
ACCEPT = ", ".join((OCI_INDEX, OCI_IMAGE, DOCKER_LIST, DOCKER_IMAGE))
_OCTETS = "application/octet-stream"
T = TypeVar("T")


class Step(NamedTuple):
    method: str
    url: str
    expected: tuple[int, ...]
    content: bytes = b""
    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}


Steps = Generator[Step, httpx.Response, T]


class Refused(Exception):
    """The registry answered something else than a push or pull that works."""

    def __init__(self, step: Step, response: httpx.Response) -> None:
        super().__init__(f"{step.method} {step.url}: {response.status_code} {response.text[:500]}")
        self.response = response


class WrongBytes(Exception):
    """What came is not what its digest says."""


def with_query(location: str, **params: str) -> str:
    """The Location of an upload with more query: whatever it holds already stays."""
    return str(httpx.URL(location).copy_merge_params(params))


def blob_steps(repository: str, item: Blob, style: Style = "containerd") -> Steps[None]:
    known = yield Step("HEAD", f"/v2/{repository}/blobs/{item.digest}", (200, 404))
    if known.status_code == 200:
        return
    start, octets = f"/v2/{repository}/blobs/uploads/", {"Content-Type": _OCTETS}
    if style == "single":
        yield Step("POST", start, (201,), item.content, octets, {"digest": item.digest})
        return
    opened = yield Step("POST", start, (202,))
    location = opened.headers["Location"]
    if style == "docker":
        moved = yield Step("PATCH", location, (202,), item.content, octets)
        yield Step("PUT", with_query(moved.headers["Location"], digest=item.digest), (201,))
    else:
        yield Step("PUT", with_query(location, digest=item.digest), (201,), item.content, octets)


def push_steps(repository: str, image: Image, tag: str | None, style: Style = "containerd") -> Steps[Digest]:
    for part in image.everything():
        for item in part.blobs:
            yield from blob_steps(repository, item, style)
        reference = tag if tag is not None and part is image else part.digest
        stored = yield Step("PUT", f"/v2/{repository}/manifests/{reference}", (201,), part.body, {"Content-Type": part.media_type})
        digest = part.digest if reference == part.digest else Digest.of(part.body)
        if stored.headers.get("Docker-Content-Digest") != digest:
            raise WrongBytes(f"{digest} was stored as {stored.headers.get('Docker-Content-Digest')}")
    return digest


def pull_steps(repository: str, reference: str) -> Steps[Image]:
    answer = yield Step("GET", f"/v2/{repository}/manifests/{reference}", (200,), headers={"Accept": ACCEPT})
    digest = Digest.parse(answer.headers["Docker-Content-Digest"])
    _compare(answer.content, digest)
    document = answer.json()
    children, blobs = [], []
    for entry in document.get("manifests", []):
        if entry["mediaType"] in ACCEPT:
            children.append((yield from pull_steps(repository, entry["digest"])))
        else:
            blobs.append((yield from _pull_blob(repository, entry)))
    held = [document["config"]] if "config" in document else []
    for entry in [*(item for item in document.get("layers", []) if not item.get("urls")), *held]:
        blobs.append((yield from _pull_blob(repository, entry)))
    return Image(answer.content, answer.headers["Content-Type"], tuple(blobs), tuple(children), digest.algorithm, document)


def _pull_blob(repository: str, entry: Mapping[str, Any]) -> Steps[Blob]:
    digest = Digest.parse(entry["digest"])
    answer = yield Step("GET", f"/v2/{repository}/blobs/{digest}", (200,))
    _compare(answer.content, digest)
    return Blob(answer.content, entry["mediaType"], digest.algorithm)


def _compare(content: bytes, digest: Digest) -> None:
    if Digest.of(content, digest.algorithm) != digest:
        raise WrongBytes(f"{len(content)} bytes that are not {digest}")


def run(client: httpx.Client, steps: Steps[T]) -> T:
    try:
        step = next(steps)
        while True:
            step = steps.send(_checked(step, client.request(**_arguments(step))))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # StopIteration carries Any


async def arun(client: httpx.AsyncClient, steps: Steps[T]) -> T:
    try:
        step = next(steps)
        while True:
            step = steps.send(_checked(step, await client.request(**_arguments(step))))
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return] # StopIteration carries Any


def _arguments(step: Step) -> dict[str, Any]:
    """httpx drops the query of a URL that is given `params`, also empty ones."""
    url = with_query(step.url, **step.params) if step.params else step.url
    return {"method": step.method, "url": url, "content": step.content, "headers": dict(step.headers)}


def _checked(step: Step, response: httpx.Response) -> httpx.Response:
    if response.status_code not in step.expected:
        raise Refused(step, response)
    return response


def push_blob(client: httpx.Client, repository: str, item: Blob, *, style: Style = "containerd") -> None:
    run(client, blob_steps(repository, item, style))


def push(client: httpx.Client, repository: str, image: Image, tag: str | None = None, *, style: Style = "containerd") -> Digest:
    """Everything that the image needs, then its manifest; without a tag by digest. The digest of the manifest."""
    return run(client, push_steps(repository, image, tag, style))


def pull(client: httpx.Client, repository: str, reference: str) -> Image:
    """The whole graph below the reference, each byte compared with its digest; foreign layers stay away."""
    return run(client, pull_steps(repository, reference))


async def apush_blob(client: httpx.AsyncClient, repository: str, item: Blob, *, style: Style = "containerd") -> None:
    await arun(client, blob_steps(repository, item, style))


async def apush(client: httpx.AsyncClient, repository: str, image: Image, tag: str | None = None, *, style: Style = "containerd") -> Digest:
    return await arun(client, push_steps(repository, image, tag, style))


async def apull(client: httpx.AsyncClient, repository: str, reference: str) -> Image:
    return await arun(client, pull_steps(repository, reference))
