"""Whatever a document tells its reader to type is typed here, in order, in a folder of its own, against the real program.

The rest (docker, root, htpasswd) is typed by `make interop`; interop/readme.py says how blocks are marked and who types them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop.readme import TYPISTS, Typist, blocks

from cargohold.config.settings import S3
from tests import postgres
from tests.house.sources import ROOT, name_of

READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
PAGES = sorted({*READMES, *DOCUMENTS, *(ROOT / "docs").rglob("*.md")})
BEYOND_US = re.compile(r"^(?:docker|podman|skopeo|sudo|htpasswd|nginx|docker-registry|uv) ", re.MULTILINE)
BORROWED = ("curl", "openssl")
"""Programs that a document uses and that not every machine has; where one is missing the document is not typed."""


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment of the reader's own that finds our dependencies installed, so that `pip install .` asks no index for them."""
    folder = tmp_path / "reader-venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


@pytest.fixture
def postgres_url(postgres_server: postgres.Server) -> Iterator[str]:
    """An empty database, as the reader makes one."""
    name = postgres_server.create()
    yield postgres_server.url(name)
    postgres_server.drop(name)


@pytest.fixture
def typist(tmp_path: Path, venv: Path) -> Iterator[Typist]:
    path = f"{venv / 'bin'}:{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CARGOHOLD_", "REGISTRY_", "MAKE", "PYTEST_"))}
    someone = Typist(tmp_path, environment=kept | {"PATH": path, "PIP_NO_BUILD_ISOLATION": "0"})
    yield someone
    someone.close()


def test_both_readmes_tell_the_same() -> None:
    english, chinese = map(blocks, READMES)
    assert [block[2:] for block in english] == [block[2:] for block in chinese]
    heads = [re.findall(r"^(#+) ", page.read_text(encoding="utf-8"), re.MULTILINE) for page in READMES]
    assert heads[0] == heads[1]


def test_every_block_has_somebody_who_types_it() -> None:
    for page in PAGES:
        for block in blocks(page):
            where = f"{name_of(page)}:{block.line}"
            assert block.language in ("sh", "yaml", "text"), f"{where}: a block is sh, yaml or text, not {block.language!r}"
            assert (block.typist in TYPISTS) == (block.language != "text"), f"{where}: who types it?"
            assert block.typist != "maintainer" or page.name == "CONTRIBUTING.md", f"{where}: let tests or interop type it"
            assert page in DOCUMENTS or page in READMES or block.language == "text", f"{where}: commands belong into a tried document"
            assert bool(block.file) == (block.language == "yaml"), f"{where}: a yaml block names its file, no other does"


def test_interop_types_only_what_tests_cannot() -> None:
    """A document is typed from top to bottom: what needs docker is interop's, and so is what only makes sense beside it."""
    for page in DOCUMENTS:
        mine = [block for block in blocks(page) if block.typist == "tests" and block.language == "sh" and BEYOND_US.search(block.body)]
        assert not mine, f"{name_of(page)}: {mine}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_what_a_document_says_works(page: Path, typist: Typist, request: pytest.FixtureRequest) -> None:
    mine = [block for block in blocks(page) if block.typist == "tests"]
    said = "".join(block.body for block in mine)
    if "db.example" in said:
        typist.words["postgresql://cargohold:secret@db.example/cargohold"] = request.getfixturevalue("postgres_url")
    if "DRIVER=s3" in said:
        bucket: S3 = request.getfixturevalue("s3_settings")
        typist.words |= {"S3_BUCKET=registry": f"S3_BUCKET={bucket.bucket}", "http://s3.example:8333": bucket.regionendpoint}
        typist.environment |= {"AWS_ACCESS_KEY_ID": bucket.accesskey, "AWS_SECRET_ACCESS_KEY": bucket.secretkey}
        typist.environment |= {"CARGOHOLD_STORAGE_S3_REGIONENDPOINT": bucket.regionendpoint}
    if missing := [program for program in BORROWED if program in said and not shutil.which(program)]:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    for block in mine:
        typist.type(block)


def test_links_lead_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
