"""Servers of a run: ours or docker-registry from the same config.yml, and nginx before it. Loopback only, on free ports.

    Registry(...).start() -> serving -> stop()          start and stop may follow each other; the data folder stays

A server that does not answer within its time, or does not end on SIGTERM, is an error: that is a finding, not noise.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interop.api import Api

USER, PASSWORD = "interop", "loads-of-crates"
START, STOP = 20.0, 20.0


def free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, ready: Callable[[], bool], alive: subprocess.Popen[bytes], log: Path, seconds: float = START) -> None:
    """A server that is not ready in time is ended, and what it said is in the error."""
    deadline = time.monotonic() + seconds
    while not ready():
        if alive.poll() is not None or time.monotonic() > deadline:
            state = f"ended with {alive.returncode}" if alive.poll() is not None else f"not ready after {seconds:.0f} s"
            alive.kill()
            alive.wait()
            raise RuntimeError(f"{what}: {state}\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def end(process: subprocess.Popen[bytes], what: str) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"{what} had ended by itself with {process.returncode}")
    process.terminate()
    try:
        process.wait(STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"{what} did not end within {STOP:.0f} s of SIGTERM") from None


@dataclass
class Registry:
    """One registry process; `program` is the command before the config file."""

    name: str
    program: list[str]
    folder: Path
    """Config and logs."""
    data: Path
    environment: dict[str, str]
    host: str = "127.0.0.1"
    port: int = 0
    certificate: tuple[Path, Path] | None = None
    authority: Path | None = None
    clients: Path | None = None
    """CA that client certificates must come from."""
    htpasswd: Path | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port(self.host)

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://{self.address}"

    @property
    def api(self) -> Api:
        user, password = (USER, PASSWORD) if self.htpasswd else ("", "")
        return Api(self.url, user=user, password=password, authority=self.authority)

    @property
    def log(self) -> Path:
        return self.folder / "errors.log"

    def requests(self) -> list[str]:
        """The access log so far, one line a request; a server may write it late and out of order."""
        return (self.folder / "access.log").read_text(errors="replace").splitlines()

    def logged(self, *parts: str, seconds: float = 5.0) -> bool:
        """Whether a line that has all parts is in the access log, or comes into it in time."""
        deadline = time.monotonic() + seconds
        while not (found := any(all(part in line for part in parts) for line in self.requests())) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def configure(self) -> Path:
        """Writes config.yml, the same for both servers."""
        config = self.folder / "config.yml"
        config.write_text(json.dumps(self._config(), indent=1))  # JSON is YAML
        return config

    def start(self) -> None:
        config = self.configure()
        with (self.folder / "access.log").open("ab") as access, self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                [*self.program, str(config)], stdin=subprocess.DEVNULL, stdout=access, stderr=errors, env=self.environment, cwd=self.folder
            )
        wait_for(self.name, self._answers, self.process, self.log)

    def stop(self) -> None:
        if self.process:
            process, self.process = self.process, None
            end(process, self.name)

    def _config(self) -> dict[str, Any]:
        http_part: dict[str, Any] = {"addr": self.address, "relativeurls": True}
        if self.certificate:
            http_part["tls"] = {"certificate": str(self.certificate[0]), "key": str(self.certificate[1])}
            if self.clients:
                http_part["tls"]["clientcas"] = [str(self.clients)]
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": str(self.data)}, "delete": {"enabled": True}},
            "http": http_part,
        }
        if self.htpasswd:
            config["auth"] = {"htpasswd": {"realm": "interop", "path": str(self.htpasswd)}}
        return config

    def _answers(self) -> bool:
        try:
            return self.api.ask("GET", "/v2/").status in (200, 401)
        except ConnectionRefusedError:
            return False
        except (OSError, http.client.HTTPException):
            return self.clients is not None  # it hangs up on us, who have no client certificate, so it is there


@dataclass
class Nginx:
    """A reverse proxy in the form that registries' manuals show; `listeners` are `listen` arguments, `ssl` on those with TLS."""

    program: str
    folder: Path
    upstream: str
    listeners: list[str]
    certificate: tuple[Path, Path]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "nginx.conf"
        config.write_text(self._config())
        log = self.folder / "errors.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [self.program, "-c", str(config), "-e", str(log), "-p", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_for("nginx", (self.folder / "nginx.pid").is_file, self.process, log)

    def stop(self) -> None:
        if self.process:
            process, self.process = self.process, None
            end(process, "nginx")

    def _config(self) -> str:
        listen = "".join(f"listen {listener};\n" for listener in self.listeners)
        temporary = "".join(f"{kind}_temp_path {self.folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root;\n" if os.geteuid() == 0 else ""
        return f"""{user}daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
events {{}}
http {{
access_log {self.folder}/access.log;
{temporary}
server {{
{listen}
ssl_certificate {self.certificate[0]};
ssl_certificate_key {self.certificate[1]};
client_max_body_size 0;
chunked_transfer_encoding on;
location /v2/ {{
proxy_pass http://{self.upstream};
proxy_http_version 1.1;
proxy_request_buffering off;
proxy_buffering off;
proxy_read_timeout 300;
proxy_set_header Host $http_host;
proxy_set_header X-Real-IP $remote_addr;
proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
proxy_set_header X-Forwarded-Proto $scheme;
}}
}}
}}
"""
