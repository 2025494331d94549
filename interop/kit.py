"""What one run stands on: the work folder, three servers with their certificates, programs, and the shape of a client.

    plain    http://127.0.0.1:PORT   htpasswd            most scenarios
    secure   https://reg.test:PORT   htpasswd, own CA    listens on ::1: a name that leads to 127.0.0.1 is not verified by docker
    behind   nginx before `plain`: plain on 127.0.0.1, TLS on reg.test; started by the first that asks

A client's scenarios run in their order and may build on each other.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple

import bcrypt

from interop import sandbox
from interop.authority import Authority
from interop.images import Layout
from interop.install import ROOT, Programs, version_in
from interop.outcome import NotRun
from interop.servers import PASSWORD, USER, Nginx, Registry, free_port
from interop.shell import Shell

OURS = [str(ROOT / ".venv" / "bin" / "cargohold"), "registry", "serve"]
NAME = "reg.test"
Scenario = tuple[str, Callable[[], None]]


class Client:
    """One client: set up by `open`, driven by its scenarios in their order, taken down by `close`."""

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    """Programs, as install.py names them; the first is the client itself."""
    sandboxed: ClassVar[bool] = False
    """Works only as root in the private view of sandbox.py."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        self.folder = kit.folder / self.name
        self.folder.mkdir()
        self.shell = Shell(self.folder)
        self.program = kit.programs.path(self.needs[0])
        self.address = kit.plain.address
        self.api = kit.plain.api

    def version(self) -> str:
        return version_in(self.shell.run(self.program, "--version"))

    def open(self) -> None:
        """What the scenarios need to find running; nothing by default."""

    def close(self) -> None:
        """Ends what `open` began."""

    def scenarios(self) -> Sequence[Scenario]:
        raise NotImplementedError


class Behind(NamedTuple):
    """Names under which nginx serves `plain`."""

    plain: str
    secure: str


class Kit:
    def __init__(self, folder: Path, programs: Programs, against: str) -> None:
        self.folder = folder
        self.programs = programs
        self.oracle = against == "docker-registry"
        """The server under test is the old one, which knows no OCI 1.1."""
        self.authority = Authority(folder / "authority")
        self.htpasswd = folder / "htpasswd"
        self.htpasswd.write_text(f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()}\n")
        self._stack = ExitStack()
        self._against = against

    def close(self) -> None:
        self._stack.close()

    def command(self, which: str) -> list[str]:
        """The command that serves a config.yml: `cargohold` or `docker-registry`."""
        return OURS if which == "cargohold" else [self.programs.path("docker-registry"), "serve"]

    def registry(
        self,
        name: str,
        *,
        program: str = "",
        data: Path | None = None,
        tls: bool = False,
        htpasswd: Path | None = None,
        clients: Path | None = None,
    ) -> Registry:
        """A server that is not started yet. With TLS it listens where `NAME` leads; `clients` is the CA that client certificates need."""
        return Registry(
            name=name,
            program=self.command(program or self._against),
            folder=self.folder / "servers" / name,
            data=data or self.folder / "data" / name,
            environment=dict(os.environ),
            host="::1" if tls and self.sandboxed else "127.0.0.1",
            certificate=self.authority.server(name) if tls else None,
            authority=self.authority.certificate if tls else None,
            htpasswd=htpasswd,
            clients=clients,
        )

    def serve(self, registry: Registry) -> Registry:
        """Start it; it ends with the run."""
        registry.start()
        self._stack.callback(registry.stop)
        return registry

    @cached_property
    def plain(self) -> Registry:
        return self.serve(self.registry("plain", htpasswd=self.htpasswd))

    @cached_property
    def secure(self) -> Registry:
        return self.serve(self.registry("secure", tls=True, htpasswd=self.htpasswd))

    @property
    def secure_name(self) -> str:
        return f"{NAME if self.sandboxed else 'localhost'}:{self.secure.port}"

    @cached_property
    def behind(self) -> Behind:
        plain, secure = f"127.0.0.1:{free_port('127.0.0.1')}", free_port("::1")
        self._nginx("nginx", [plain, f"[::1]:{secure} ssl"])
        return Behind(plain, f"{NAME}:{secure}")

    @cached_property
    def bare(self) -> str:
        """nginx on the port that a host without a port means."""
        try:
            with socket.socket(socket.AF_INET6) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("::1", 443))
        except OSError as error:
            raise NotRun(f"port 443 of ::1 is not free: {error.strerror}") from None
        self._nginx("nginx-443", ["[::1]:443 ssl"])
        return NAME

    def _nginx(self, name: str, listeners: list[str]) -> None:
        nginx = Nginx(self.programs.path("nginx"), self.folder / name, self.plain.address, listeners, self.authority.server(name))
        nginx.start()
        self._stack.callback(nginx.stop)

    def layout(self, name: str) -> Layout:
        return Layout(self.folder / "layouts" / name)

    def trust(self, place: Path, *hosts: str) -> None:
        """Put our CA where a client looks for it: `PLACE/HOST:PORT/ca.crt`."""
        for host in hosts:
            folder = place / host
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "ca.crt").write_bytes(self.authority.certificate.read_bytes())

    @property
    def sandboxed(self) -> bool:
        return sandbox.inside()
