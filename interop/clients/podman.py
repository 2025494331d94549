"""podman: both manifest families, zstd layers, lists, and a pulled image that runs.

Storage, locks and networks of its own lie in the work folder. It runs containers by runc with small limits, which also works where
raising a limit is not allowed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from interop.images import INDEX, MANIFEST
from interop.kit import Client, Scenario
from interop.servers import PASSWORD, USER

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
PLAIN = "--tls-verify=false"


class Podman(Client):
    name = "podman"
    needs = ("podman", "runc", "busybox")
    sandboxed = True

    def open(self) -> None:
        self.shell.own_logins()
        self.context = self.folder / "context"
        self.context.mkdir()
        shutil.copy(self.kit.programs.path("busybox"), self.context / "busybox")
        (self.context / "Containerfile").write_text("FROM scratch\nCOPY busybox /bin/busybox\nCOPY word /word\nENV HOW=podman\n")

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("login: wrong password refused, right one kept", self.login),
            ("push (OCI), pull, run", self.oci),
            ("push --format v2s2, pull by digest", self.v2s2),
            ("push with zstd layers, pull, run", self.zstd),
            ("manifest create, add, push --all, pull", self.manifest_list),
            ("build FROM a pulled image, push, pull", self.build),
            ("search --list-tags", self.search),
            ("TLS with our CA in certs.d", self.tls),
            ("logout, then push is refused", self.logout),
        ]

    def words(self, *words: str) -> list[str]:
        store = ["--root", self.folder / "root", "--runroot", self.folder / "run", "--tmpdir", self.folder / "tmp"]
        store += ["--network-config-dir", self.folder / "networks", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
        return [self.program, *map(str, store), "--storage-driver", "vfs", "--runtime", "runc", *words]

    def run(self, *words: str) -> str:
        return self.shell.run(*self.words(*words))

    def image(self, name: str) -> str:
        """A new image under that name; returns its id."""
        (self.context / "word").write_bytes(os.urandom(3000))
        self.run("build", "-q", "--isolation", "chroot", "-t", name, str(self.context))
        return self.identity(name)

    def identity(self, name: str) -> str:
        return self.run("image", "inspect", "--format", "{{.Id}}", name).strip()

    def works(self, name: str) -> None:
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
        said = self.run("run", "--rm", "--network", "none", *limits, name, "/bin/busybox", "echo", "it runs")
        assert said.strip().endswith("it runs"), said

    def round_trip(self, repository: str, *options: str) -> str:
        """Push a new image, drop it, pull it: the same image; returns its digest in the registry."""
        name = f"{self.address}/{repository}"
        image = self.image(name)
        self.run("push", PLAIN, *options, name)
        self.run("rmi", name)
        self.run("pull", PLAIN, name)
        assert self.identity(name) == image
        self.api.whole(repository, "latest")
        return self.api.digest(repository, "latest")

    def login(self) -> None:
        said = self.shell.refused(*self.words("login", PLAIN, "-u", USER, "-p", "wrong", self.address))
        assert "invalid username/password" in said, said
        self.run("login", PLAIN, "-u", USER, "-p", PASSWORD, self.address)

    def oci(self) -> None:
        self.round_trip("podman/oci")
        assert self.api.manifest("podman/oci", "latest").media_type == MANIFEST
        self.works(f"{self.address}/podman/oci")

    def v2s2(self) -> None:
        digest = self.round_trip("podman/v2s2", "--format", "v2s2")
        assert self.api.manifest("podman/v2s2", "latest").media_type == SCHEMA2
        self.run("rmi", f"{self.address}/podman/v2s2")
        self.run("pull", PLAIN, f"{self.address}/podman/v2s2@{digest}")

    def zstd(self) -> None:
        name = f"{self.address}/podman/zstd"
        self.image(name)
        self.run("push", PLAIN, "--compression-format", "zstd", name)
        layers = self.api.manifest("podman/zstd", "latest").json()["layers"]
        assert any(layer["mediaType"].endswith("+zstd") for layer in layers), layers
        self.api.whole("podman/zstd", "latest")
        self.run("rmi", name)
        self.run("pull", PLAIN, name)
        self.works(name)

    def manifest_list(self) -> None:
        name = f"{self.address}/podman/many"
        self.run("manifest", "create", "many")
        for arch in ("amd64", "arm64"):
            self.image(f"localhost/{arch}")
            self.run("manifest", "add", "--arch", arch, "many", f"containers-storage:localhost/{arch}")
        self.run("manifest", "push", PLAIN, "--all", "many", f"docker://{name}:1")
        found = self.api.manifest("podman/many", "1")
        assert found.media_type == INDEX, found.media_type
        assert {child["platform"]["architecture"] for child in found.json()["manifests"]} == {"amd64", "arm64"}
        self.api.whole("podman/many", "1")
        self.run("pull", PLAIN, f"{name}:1")
        assert self.identity(f"{name}:1") == self.identity("localhost/amd64")

    def build(self) -> None:
        base, name = f"{self.address}/podman/oci", f"{self.address}/podman/built"
        self.run("rmi", base)
        context = self.folder / "second"
        context.mkdir()
        (context / "Containerfile").write_text(f'FROM {base}\nRUN ["/bin/busybox", "touch", "/made"]\n')
        self.run("build", "-q", "--isolation", "chroot", PLAIN, "-t", name, str(context))
        self.run("push", PLAIN, name)
        self.api.whole("podman/built", "latest")

    def search(self) -> None:
        for tag in ("1", "2", "3"):
            self.run("push", PLAIN, f"{self.address}/podman/oci", f"docker://{self.address}/podman/tags:{tag}")
        said = self.run("search", PLAIN, "--list-tags", f"{self.address}/podman/tags")
        assert sorted(line.split()[1] for line in said.splitlines()[1:]) == ["1", "2", "3"], said

    def tls(self) -> None:
        host = self.kit.secure_name
        self.kit.trust(Path("/etc/containers/certs.d"), host)
        self.run("login", "-u", USER, "-p", PASSWORD, host)
        self.image(f"{host}/podman/tls")
        self.run("push", f"{host}/podman/tls")
        self.run("rmi", f"{host}/podman/tls")
        self.run("pull", f"{host}/podman/tls")
        self.kit.secure.api.whole("podman/tls", "latest")

    def logout(self) -> None:
        self.run("logout", self.address)
        said = self.shell.refused(*self.words("push", PLAIN, f"{self.address}/podman/oci"))
        assert "unauthorized" in said or "authentication required" in said, said
