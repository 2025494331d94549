"""Which driver the settings open, and that nobody pays for, or needs, the libraries of another."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import msgspec
import pytest

from cargohold.config.settings import S3, Storage
from cargohold.storage.driver import Leftovers, LocalFiles, Redirects, Small, Usage
from cargohold.storage.open import open_driver

BLOCKED = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from cargohold.config.settings import S3, Storage
from cargohold.storage.open import MissingExtra, open_driver
try:
    open_driver(Storage(driver="s3", s3=S3(bucket="b")))
except MissingExtra as error:
    sys.stdout.write(str(error))
"""

LIGHT = """
import sys
from cargohold.config.settings import Storage
from cargohold.storage.open import open_driver
open_driver(Storage(rootdirectory=sys.argv[1]))
sys.stdout.write(" ".join(name for name in ("boto3", "botocore", "obstore") if name in sys.modules))
"""


def run(program: str, argument: str) -> str:
    return subprocess.run([sys.executable, "-c", program, argument], check=True, capture_output=True, text=True).stdout


async def test_each_name_opens_its_driver(tmp_path: Path, s3_settings: S3) -> None:
    abilities = {"filesystem": {LocalFiles, Usage, Leftovers}, "inmemory": set(), "s3": {Redirects}}
    for name, able in abilities.items():
        driver = open_driver(msgspec.convert({"driver": name, "rootdirectory": str(tmp_path), "s3": s3_settings}, Storage))
        assert driver.name == name
        assert {kind for kind in (LocalFiles, Usage, Leftovers, Redirects) if isinstance(driver, kind)} == able
        await driver.aclose()


@pytest.mark.parametrize("library", ["boto3", "obstore"])
def test_a_missing_library_is_one_line_that_tells_what_to_install(library: str) -> None:
    assert run(BLOCKED, library) == f"storage.driver s3 needs {library}: pip install cargohold[s3]"


def test_files_load_no_library_of_s3(tmp_path: Path) -> None:
    assert run(LIGHT, str(tmp_path)) == ""


async def test_free_space_is_told(tmp_path: Path) -> None:
    driver = open_driver(Storage(rootdirectory=str(tmp_path)))
    assert isinstance(driver, Usage) and driver.free_bytes() > 0
    assert next(iter(await driver.check())).fault == ""
    await driver.aclose()


async def test_a_signed_url_gives_the_object_to_a_client_without_credentials(s3_settings: S3) -> None:
    driver = open_driver(Storage(driver="s3", s3=s3_settings))
    await driver.put([Small("docker/blob", b"0123456789")])
    assert isinstance(driver, Redirects)
    url = await driver.sign("docker/blob", 60)
    assert url is not None and s3_settings.secretkey not in url
    request = urllib.request.Request(url, headers={"Range": "bytes=2-4"})
    with urllib.request.urlopen(request) as answer:
        assert (answer.status, answer.read()) == (206, b"234")
    with pytest.raises(urllib.error.HTTPError):
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"))
    await driver.aclose()


async def test_urls_are_signed_for_the_public_endpoint(s3_settings: S3) -> None:
    public = msgspec.structs.replace(s3_settings, public_endpoint="https://blobs.example.org")
    driver = open_driver(Storage(driver="s3", s3=public))
    assert isinstance(driver, Redirects)
    url = await driver.sign("docker/blob", 60)
    assert url is not None and url.startswith(f"https://blobs.example.org/{s3_settings.bucket}/{s3_settings.rootdirectory}/docker/blob?")
    await driver.aclose()
