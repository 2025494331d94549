"""A full disk: writes answer 507, nothing that was acknowledged is lost, reads go on, and room that is made is used again.

`tmpfs` is a real small file system in a mount namespace of the server's own (where this user may make one); `ulimit` caps the
size of a file, which a process of any user can ask for, and which fails in the same places.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits.test_many_clients import ask
from tests.limits.test_memory import ask as stream
from tests.limits.test_memory import pieces
from tests.program import Program

MIB = 1 << 20
UPLOADS = "/v2/full/app/blobs/uploads/"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def namespace(folder: Path) -> list[str]:
    """The words that start a program with 24 MiB of its own at `folder`/data; empty where that is not allowed."""
    unshare = shutil.which("unshare")
    words = [unshare or "", "--mount", *([] if os.getuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    words += [f'mount -t tmpfs -o size=24m tmpfs "{folder / "data"}" && exec "$@"', "sh"]
    works = unshare and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if works else []


@pytest.fixture(params=["tmpfs", "ulimit"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "data").mkdir()
    words = namespace(tmp_path) if request.param == "tmpfs" else ["sh", "-c", 'ulimit -f 16384 && exec "$@"', "sh"]  # 8 MiB
    if not words:
        pytest.skip("this user may not mount a file system of its own")
    server = Program(tmp_path, workers=1)
    server.command = words + server.command
    with server:
        yield server


def push(program: Program, text: bytes) -> tuple[str, bytes]:
    """A one-layer image; its path and bytes."""
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    assert ask(program, "POST", f"{UPLOADS}?digest={digest}", text)[0] == 201
    layer = {"mediaType": "text/plain", "digest": digest, "size": len(text)}
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer]}).encode()
    path = f"/v2/full/app/manifests/sha256:{hashlib.sha256(manifest).hexdigest()}"
    assert stream(program.port, "PUT", path, manifest, Content_Type=MANIFEST).status == 201
    return path, manifest


def is_readable(program: Program, image: tuple[str, bytes]) -> None:
    path, manifest = image
    assert ask(program, "GET", path) == (200, manifest)
    digest = json.loads(manifest)["config"]["digest"]
    status, body = ask(program, "GET", f"/v2/full/app/blobs/{digest}")
    assert status == 200 and "sha256:" + hashlib.sha256(body).hexdigest() == digest


def too_much(program: Program, way: str) -> tuple[int, str]:
    """64 MiB where there is no room; the status, and the session that it left."""
    size, place, digest = 64 * MIB, "", "sha256:" + "0" * 64
    if way != "post":
        place = stream(program.port, "POST", UPLOADS, b"").headers["Location"]
    try:
        if way == "patch":
            return stream(program.port, "PATCH", place, pieces(size)).status, place
        method, path = ("PUT", place) if way == "put" else ("POST", UPLOADS)
        return stream(program.port, method, f"{path}?digest={digest}", pieces(size), Content_Length=str(size)).status, place
    except (BrokenPipeError, ConnectionResetError):
        return 0, place  # it answered and closed before all was sent: Python's client cannot read that answer


@pytest.mark.parametrize("way", ["patch", "put", "post"])
def test_a_layer_that_does_not_fit_is_refused_and_reading_goes_on(program: Program, way: str) -> None:
    image = push(program, b"pushed before")
    status, _ = too_much(program, way)
    assert status in (0, 507)
    is_readable(program, image)
    assert program.answers()
    assert "Traceback" not in program.log


@pytest.mark.parametrize("program", ["tmpfs"], indirect=True)
def test_a_cancelled_upload_gives_its_room_back(program: Program) -> None:
    _, place = too_much(program, "patch")
    assert ask(program, "DELETE", place)[0] == 204
    text = b"pushed after room was made"
    is_readable(program, push(program, text))


def test_a_disk_that_fills_up_loses_nothing(program: Program) -> None:
    """Images with a large blob beside each until one is refused: every one before it is whole."""
    images: list[tuple[str, bytes]] = []
    while len(images) < 40:
        filler = os.urandom(MIB)
        digest = "sha256:" + hashlib.sha256(filler).hexdigest()
        status, _ = ask(program, "POST", f"{UPLOADS}?digest={digest}", filler)
        if status != 201:
            assert status == 507
            break
        images.append(push(program, b"beside %d" % len(images)))
    assert 5 < len(images) < 40 or "ulimit" in " ".join(program.command), "many files never reach a cap on the size of one"
    for image in images:
        is_readable(program, image)
    assert ask(program, "GET", "/v2/full/app/tags/list")[0] == 200
    assert "Traceback" not in program.log
