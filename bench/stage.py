"""The stage of one run: a work folder, the seed, and the servers, each started when a row first asks for it by name.

    docker-registry             defaults, metadata and blobs in its own folder
    docker-registry GOGC=400    the same program on the same folder, for reads only
    nginx                       hard links to docker-registry's blobs
    cargohold                   htpasswd, metrics, one worker per core, SQLite
    cargohold NAME              one thing changed: `no auth`, `token`, `tls`, `slow fsync`, `postgres`, `s3`, `s3 redirect`
    docker-registry NAME, nginx tls     the neighbour of such a row

Every server but the GOGC one has a tree of its own, and is asked for one full body before it is measured.
With `self_check` docker-registry plays our part: each ratio to it should then be about 1.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bench import backends, seed
from bench.credentials import Credentials
from bench.servers import Server, cargohold, docker_registry, nginx, program

REGISTRY, TUNED, NGINX, OURS = "docker-registry", "docker-registry GOGC=400", "nginx", "cargohold"
SLOW_FSYNC_MS = 5


class Stage:
    def __init__(self, parent: Path | None, *, quick: bool, self_check: bool = False) -> None:
        self._holder = tempfile.TemporaryDirectory(prefix="cargohold-bench-", dir=parent)
        self.folder = Path(self._holder.name)
        self.folder.chmod(0o755)
        self.quick = quick
        self.self_check = self_check
        self.rounds = 3 if quick else 5
        self.seconds = 0.5 if quick else 0.7
        self.credentials = Credentials(self.folder)
        self.seed = seed.make()
        self._servers: dict[str, Server] = {}
        self._listed = False
        self._backends = backends.Backends(self.folder)
        self._makers: dict[str, Callable[[str], Server]] = {
            REGISTRY: self._docker_registry,
            TUNED: self._tuned,
            NGINX: self._nginx,
            OURS: self._cargohold,
            "nginx tls": self._nginx_tls,
            "docker-registry tls": lambda name: self._image(docker_registry(name, self.folder, self._root(name), tls=self.credentials)),
            "docker-registry slow fsync": lambda name: docker_registry(name, self.folder, self._root(name), prefix=self._slow(name)),
            "docker-registry s3": self._docker_registry_s3,
            "cargohold no auth": lambda name: self._image(self._ours(name, auth="none"), large=False),
            "cargohold token": lambda name: self._image(self._ours(name, auth="token"), large=False),
            "cargohold tls": lambda name: self._image(self._ours(name, tls=True)),
            "cargohold slow fsync": lambda name: self._ours(name, prefix=self._slow(name)),
            "cargohold postgres": lambda name: self._image(self._ours(name, database=self._backends.postgres()), large=False),
            "cargohold s3": self._cargohold_s3,
            "cargohold s3 redirect": self._cargohold_s3,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._servers):
            self.stop(name)
        self._backends.stop()
        subprocess.run([program("rm"), "-rf", *map(str, self.folder.iterdir())], check=False)  # ten times as quick as shutil
        self._holder.cleanup()

    def server(self, name: str) -> Server:
        """Starts and seeds on first use. Raises `Missing` when a program is not installed."""
        if name not in self._servers:
            self._servers[name] = self._makers[name](name)
        return self._servers[name]

    def lists(self) -> None:
        """Tags and repositories for the list rows, on both sides; once."""
        if self._listed:
            return
        self.server(REGISTRY)
        seed.lists_into_tree(self._root(REGISTRY))
        self.server(OURS)
        if self.self_check:
            seed.lists_into_tree(self._root(OURS))
        else:
            seed.lists_into_database(self._root(OURS), self.seed)
        self._listed = True

    def stop(self, name: str) -> None:
        if server := self._servers.pop(name, None):
            server.stop()

    def root(self, name: str) -> Path:
        """Where the tree of that server lies on disk."""
        return self._root(REGISTRY if name == TUNED else name)

    def _root(self, name: str) -> Path:
        root = self.folder / name.replace(" ", "-").replace("=", "-")
        root.mkdir(exist_ok=True)
        return root

    def _image(self, server: Server, *, large: bool = True, cold: bool = False) -> Server:
        seed.Pusher(server).image(self.seed, large=large, cold=cold)
        return server

    def _docker_registry(self, name: str) -> Server:
        root = self._root(name)
        return self._image(docker_registry(name, self.folder, root), cold=True)

    def _tuned(self, name: str) -> Server:
        self.server(REGISTRY)
        return docker_registry(name, self.folder, self._root(REGISTRY), environment={"GOGC": "400"})

    def _nginx(self, name: str) -> Server:
        self.server(REGISTRY)
        www = self.folder / "www"
        program("nginx")
        seed.www(self._root(REGISTRY), www, self.seed)
        return nginx(name, self.folder, www)

    def _nginx_tls(self, name: str) -> Server:
        self.server(NGINX)
        return nginx(name.replace(" ", "-"), self.folder, self.folder / "www", tls=self.credentials)

    def _cargohold(self, name: str) -> Server:
        return self._image(self._ours(name), cold=True)

    def _ours(
        self,
        name: str,
        *,
        auth: str = "htpasswd",
        tls: bool = False,
        database: str = "",
        storage: dict[str, object] | None = None,
        redirect: bool = False,
        prefix: tuple[str, ...] = (),
    ) -> Server:
        root = self._root(name)
        if self.self_check:
            return docker_registry(name, self.folder, root, tls=self.credentials if tls else None, storage=storage, prefix=prefix)
        return cargohold(
            name,
            self.folder,
            root,
            self.credentials,
            auth=auth,
            tls=tls,
            database=database,
            storage=storage,
            redirect=redirect,
            prefix=prefix,
        )

    def _slow(self, name: str) -> tuple[str, ...]:
        """strace that holds every fsync for 5 ms and writes one line for each into `fsyncs(name)`."""
        calls = "fsync,fdatasync,sync_file_range"
        delay = f"inject={calls}:delay_enter={SLOW_FSYNC_MS * 1000}"
        return (program("strace"), "-f", "--seccomp-bpf", "-qq", "-o", str(self.fsyncs(name)), "-e", f"trace={calls}", "-e", delay)

    def fsyncs(self, name: str) -> Path:
        return self.folder / f"{name.replace(' ', '-')}.fsyncs"

    def _docker_registry_s3(self, name: str) -> Server:
        storage = self._backends.s3_settings("peer")
        return self._image(
            docker_registry(name, self.folder, self._root(name), storage={**storage, "redirect": {"disable": True}}), large=False
        )

    def _cargohold_s3(self, name: str) -> Server:
        storage = self._backends.s3_settings(name.replace(" ", "-"))
        return self._image(self._ours(name, storage=storage, redirect=name.endswith("redirect")), large=False)
