"""Servers as subprocesses: docker-registry, nginx, ourselves. Each on loopback, on a free port, in a session of its own.

Readiness is an answered GET; the end is SIGTERM by pid, then SIGKILL for the group. Peers are tuned as their makers ship
them, with the access log off; nginx with `tcp_nopush off` (on, a Range answer waits 40 ms) and no cap on keep-alive.
What a missing program costs is decided by the caller: `Missing` says which one it is.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from bench.credentials import Credentials

HOST = "127.0.0.1"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_READY = 30.0


class Missing(Exception):
    """A program that this row needs is not installed."""


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=f"{Path(sys.executable).parent}:/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def free_port(below: int = 65536) -> int:
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port < below:
            return port


def _environment(refused: tuple[str, ...] = ("AWS_", "REGISTRY_", "CARGOHOLD_", "GOGC", "GOMAXPROCS")) -> dict[str, str]:
    """Ours without what would change a server's settings behind our back."""
    return {name: value for name, value in os.environ.items() if not name.startswith(refused)}


class Server:
    """A running server: where it listens, which process leads its group, which folder holds its tree."""

    def __init__(self, name: str, command: list[str], folder: Path, port: int, *, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.port = port
        self.folder = folder
        self.tls = False
        self.headers: dict[str, str] = {}
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**_environment(), **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self, timeout: float = 60.0) -> http.client.HTTPConnection:
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return http.client.HTTPSConnection(HOST, self.port, timeout=timeout, context=context)
        return http.client.HTTPConnection(HOST, self.port, timeout=timeout)

    def request(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, Any, bytes]:
        """One request on a fresh connection: status, headers, body."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def wait(self, path: str = "/v2/") -> Server:
        began = time.monotonic()
        while time.monotonic() - began < _READY:
            if self.process.poll() is not None:
                break
            try:
                if self.request("GET", path)[0] < 500:
                    return self
            except OSError:
                time.sleep(0.02)
        self.stop()
        raise RuntimeError(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")

    def stop(self, *, patience: float = 5.0) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(patience)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.process.wait()


def docker_registry(
    name: str,
    folder: Path,
    root: Path,
    *,
    environment: dict[str, str] | None = None,
    tls: Credentials | None = None,
    storage: dict[str, Any] | None = None,
    prefix: tuple[str, ...] = (),
) -> Server:
    port = free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {**(storage or {"filesystem": {"rootdirectory": str(root)}}), "delete": {"enabled": True}},
        "http": {"addr": f"{HOST}:{port}", "secret": "bench"},
    }
    if tls:
        config["http"]["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(config))
    server = Server(name, [*prefix, program("docker-registry"), "serve", str(path)], root, port, environment=environment)
    server.tls = tls is not None
    return server.wait()


def cargohold(
    name: str,
    folder: Path,
    root: Path,
    credentials: Credentials,
    *,
    auth: str = "htpasswd",
    tls: bool = False,
    storage: dict[str, Any] | None = None,
    redirect: bool = False,
    database: str = "",
    workers: int = 0,
    prefix: tuple[str, ...] = (),
    program_line: tuple[str, ...] = (),
) -> Server:
    """`auth`: none, htpasswd or token; `database`: a PostgreSQL URL, empty for SQLite; `workers`: 0 for one per core."""
    port, admin = free_port(), free_port()
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            **(storage or {"filesystem": {"rootdirectory": str(root)}}),
            "delete": {"enabled": True},
            "redirect": {"disable": not redirect},
        },
        "http": {"addr": f"{HOST}:{port}"},
        "cargohold": {"workers": workers, "admin": {"addr": f"{HOST}:{admin}"}},
    }
    if database:
        config["cargohold"]["database"] = {"url": database}
    if tls:
        config["http"]["tls"] = {"certificate": str(credentials.certificate), "key": str(credentials.key)}
    if auth != "none":
        config["auth"] = credentials.config(auth)
    path = folder / f"{name}.yml"
    path.write_text(yaml.safe_dump(config))
    root.mkdir(parents=True, exist_ok=True)
    server = Server(name, [*prefix, *(program_line or (program("cargohold"),)), "registry", "serve", str(path)], root, port)
    server.tls = tls
    server.headers = credentials.headers(auth)
    return server.wait()


_NGINX = """
daemon off; master_process on; worker_processes auto; {user}
pid {folder}/nginx.pid; error_log {folder}/nginx-error.log error;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  default_type application/vnd.oci.image.manifest.v1+json;
  server {{
    listen {host}:{port}; {tls}
    root {www};
    location = /v2/ {{ default_type application/json; return 200 '{{}}'; }}
  }}
}}
"""


def nginx(name: str, folder: Path, www: Path, *, tls: Credentials | None = None) -> Server:
    """Serves the files below `www` as they are; `www` mirrors the URLs of the registry."""
    port = free_port()
    own = folder / name
    own.mkdir(exist_ok=True)
    path = own / "nginx.conf"
    secure = f"ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};" if tls else ""
    path.write_text(
        _NGINX.format(
            user="user root;" if os.geteuid() == 0 else "", folder=own, host=HOST, port=f"{port} ssl" if tls else port, tls=secure, www=www
        )
    )
    server = Server(name, [program("nginx"), "-e", f"{own}/nginx-error.log", "-p", str(own), "-c", str(path)], own, port)
    server.tls = tls is not None
    return server.wait()
