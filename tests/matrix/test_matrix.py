"""Every cell of the matrix against a registry in this process, and that no operation is without its row."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio

from cargohold.config.settings import Auth, Database, Htpasswd, Settings, Storage
from cargohold.names import Digest
from cargohold.registry.dispatch import ROUTES
from cargohold.testing.image import artifact, blob, image
from cargohold.testing.push import apush, with_query
from cargohold.testing.server import Running, registry
from cargohold.testing.tokens import TokenService
from tests.auth.calls import basic
from tests.auth.test_htpasswd import ANN
from tests.matrix import blobs, catalog, manifests, ping, referrers, tags, uploads
from tests.matrix.row import SCOPES, Row

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = (ping, catalog, tags, manifests, blobs, uploads, referrers)
ROWS: dict[str, Row] = {operation: row for file in FILES for operation, row in file.ROWS.items()}
OPERATIONS = {operation.id: method for route in ROUTES.values() for method, operation in route.operations.items() if method != "HEAD"}
FACES = {"user": "htpasswd", "wrong": "htpasswd", "stranger": "htpasswd", "open": "none"}
"""Columns that are not about tokens."""
PEOPLE = {"user": ("ann", "secret"), "wrong": ("ann", "guess")}
MADE = image(layers=1)
REFERRER = artifact(subject=MADE)
ITEM = blob(20)
_numbers = itertools.count(1)


class World:
    """The three faces of a registry and who signs tokens."""

    def __init__(self, faces: dict[str, Running], service: TokenService, stranger: TokenService) -> None:
        self.faces, self.service, self.stranger = faces, service, stranger
        self._untouched: dict[str, Cell] = {}

    async def cell(self, caller: str, *, changes: bool) -> Cell:
        """A cell of its own for what changes it; all that is refused or only reads shares one, which also shows that it did nothing."""
        if not changes and caller in self._untouched:
            return self._untouched[caller]
        cell = Cell(self, caller)
        await cell.prepare()
        if not changes:
            self._untouched[caller] = cell
        return cell

    def client(self, caller: str, repository: str) -> httpx.AsyncClient:
        running = self.faces[FACES.get(caller, "token")]
        if caller in PEOPLE:
            return running.client_from(authorization=basic(*PEOPLE[caller]))
        if caller not in SCOPES:
            return running.client_from()
        signer = self.stranger if caller == "forged" else self.service
        scopes = [text.format(repository) for text in SCOPES[caller]]
        header: dict[str, object] = {"kid": self.service.kid}
        token = signer.token("ann", *scopes, lifetime=-100 if caller == "expired" else 300, header=header)
        return running.client_from(authorization=f"Bearer {token}")

    def owner(self, caller: str, repository: str) -> httpx.AsyncClient:
        """Somebody of the same name who may do everything there."""
        face = FACES.get(caller, "token")
        return self.client({"token": "every", "htpasswd": "user", "none": "open"}[face], repository)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    (folder / "htpasswd").write_text(f"{ANN}\n")
    service = TokenService()
    auth = {
        "token": service.settings(folder),
        "htpasswd": Auth(kind="htpasswd", htpasswd=Htpasswd(path=str(folder / "htpasswd"))),
        "none": Auth(),
    }
    settings = Settings(storage=Storage(rootdirectory=str(folder), sync="none"), database=Database(synchronous="normal"))
    first = msgspec.structs.replace(settings, auth=auth["token"])
    async with (
        registry(first) as token,
        registry(msgspec.structs.replace(settings, auth=auth["htpasswd"]), keeper=False) as htpasswd,
        registry(settings, keeper=False) as none,
    ):
        yield World({"token": token, "htpasswd": htpasswd, "none": none}, service, TokenService())


class Cell:
    """A repository with an image, a referrer and an open upload of 10 bytes; `attempt` does one operation in it."""

    def __init__(self, world: World, caller: str) -> None:
        self.repository = f"cell{next(_numbers)}/app"
        self.owner = world.owner(caller, self.repository)
        self.caller = world.client(caller, self.repository)
        self.location = ""

    async def prepare(self) -> None:
        await apush(self.owner, self.repository, MADE, "v1")
        await apush(self.owner, self.repository, REFERRER)
        opened = await self.owner.post(f"/v2/{self.repository}/blobs/uploads/")
        self.location = opened.headers["Location"]
        assert (await self.owner.patch(self.location, content=ITEM.content[:10])).status_code == 202

    async def attempt(self, operation: str, method: str) -> httpx.Response:
        path, content = self.requests()[operation]
        return await self.caller.request(method, path, content=content)

    def requests(self) -> dict[str, tuple[str, bytes]]:
        root = f"/v2/{self.repository}"
        return {
            "root": ("/", b""),
            "ping": ("/v2/", b""),
            "listRepositories": ("/v2/_catalog", b""),
            "listTags": (f"{root}/tags/list", b""),
            "getManifest": (f"{root}/manifests/v1", b""),
            "putManifest": (f"{root}/manifests/v2", MADE.body),
            "deleteManifest": (f"{root}/manifests/{MADE.digest}", b""),
            "getBlob": (f"{root}/blobs/{MADE.blobs[0].digest}", b""),
            "deleteBlob": (f"{root}/blobs/{MADE.blobs[0].digest}", b""),
            "startUpload": (f"{root}/blobs/uploads/", b""),
            "getUpload": (self.location, b""),
            "appendUpload": (self.location, ITEM.content[10:]),
            "finishUpload": (with_query(self.location, digest=ITEM.digest), ITEM.content[10:]),
            "cancelUpload": (self.location, b""),
            "listReferrers": (f"{root}/referrers/{MADE.digest}", b""),
        }

    async def is_untouched(self) -> bool:
        root = f"/v2/{self.repository}"
        tag = (await self.owner.get(f"{root}/tags/list")).json()["tags"]
        held = await self.owner.head(f"{root}/blobs/{MADE.blobs[0].digest}")
        made = await self.owner.head(f"{root}/blobs/{ITEM.digest}")
        upload = await self.owner.get(self.location)
        return (tag, held.status_code, made.status_code, upload.headers.get("Range")) == (["v1"], 200, 404, "0-9")


async def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert set(OPERATIONS) == set(ROWS)
    assert sum(len(file.ROWS) for file in FILES) == len(ROWS), "no operation stands in two files"


async def test_every_operation_is_tried() -> None:
    assert set(Cell.requests(_bare())) == set(ROWS)


def _bare() -> Cell:
    cell = Cell.__new__(Cell)
    cell.repository, cell.location = "a", "/v2/a/blobs/uploads/x"
    return cell


CELLS = [
    pytest.param(operation, method, caller, status, id=f"{operation}-{method}-{caller}")
    for operation, row in ROWS.items()
    for method in ([OPERATIONS[operation], "HEAD"] if OPERATIONS.get(operation) == "GET" else [OPERATIONS.get(operation, "GET")])
    for caller, status in row._asdict().items()
]


@pytest.mark.parametrize(("operation", "method", "caller", "status"), CELLS)
async def test_cell(world: World, operation: str, method: str, caller: str, status: int) -> None:
    cell = await world.cell(caller, changes=status < 400 and method not in ("GET", "HEAD"))
    answer = await cell.attempt(operation, method)
    assert answer.status_code == status, answer.text
    if status == 401:
        assert answer.headers.get_list("WWW-Authenticate") == [challenge(operation, caller, cell.repository)]
        assert method == "HEAD" or answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
        assert await cell.is_untouched()


def challenge(operation: str, caller: str, repository: str) -> str:
    """Word for word: the scope that this request needs, and why the token was not enough."""
    if FACES.get(caller) == "htpasswd":
        return 'Basic realm="cargohold"'
    noun = next(file for file in FILES if operation in file.ROWS)
    action = {"delete": "delete", "get": "pull", "list": "pull"}.get(operation.removesuffix("Manifest").removesuffix("Blob"), "")
    if not action:
        action = "pull" if operation in ("listTags", "listReferrers") else "pull,push"
    scope = {ping: "", catalog: ',scope="registry:catalog:*"'}.get(noun, f',scope="repository:{repository}:{action}"')
    invalid = caller in ("expired", "forged")
    error = "" if caller == "anonymous" else f',error="{"invalid_token" if invalid else "insufficient_scope"}"'
    return f'Bearer realm="https://auth.example/token",service="registry.example"{scope}{error}'


async def test_a_token_for_somewhere_else_does_not_tell_what_is_there(world: World) -> None:
    """A repository that one may not read and one that is not there answer alike, but for their names."""
    cell = Cell(world, "other")
    await cell.prepare()
    absent = cell.repository.replace("cell", "none")
    for path in ("tags/list", "manifests/v1", f"manifests/{MADE.digest}", f"blobs/{MADE.blobs[0].digest}", f"referrers/{MADE.digest}"):
        there = await cell.caller.get(f"/v2/{cell.repository}/{path}")
        nothing = await cell.caller.get(f"/v2/{absent}/{path}")
        assert there.status_code == nothing.status_code == 401
        assert there.text.replace(cell.repository, absent) == nothing.text
        assert there.headers["WWW-Authenticate"].replace(cell.repository, absent) == nothing.headers["WWW-Authenticate"]


async def test_refusals_do_not_wait_for_the_body(world: World) -> None:
    """No byte is asked for before the right is known, so `Expect: 100-continue` is not answered either."""
    asked = False

    async def body() -> AsyncIterator[bytes]:
        nonlocal asked
        asked = True
        yield b"x"

    cell = Cell(world, "pull")
    await cell.prepare()
    root = f"/v2/{cell.repository}"
    single = f"{root}/blobs/uploads/?digest={Digest.of(b'x')}"
    for method, path in (("PUT", f"{root}/manifests/v2"), ("PATCH", cell.location), ("POST", single)):
        assert (await cell.caller.request(method, path, content=body())).status_code == 401
    assert not asked
