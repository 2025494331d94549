"""buildah: images from nothing, both manifest families, lists over several platforms, and a build cache kept in the registry."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from interop.images import INDEX, MANIFEST
from interop.kit import Client, Scenario
from interop.servers import PASSWORD, USER

SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"
PLAIN = "--tls-verify=false"


class Buildah(Client):
    name = "buildah"
    needs = ("buildah", "busybox")
    sandboxed = True

    def open(self) -> None:
        self.shell.own_logins()
        shutil.copy(self.kit.programs.path("busybox"), self.folder / "busybox")

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("login", self.login),
            ("from scratch, copy, commit, push (OCI), pull", self.oci),
            ("push --format v2s2, pull by digest", self.v2s2),
            ("manifest list of three platforms, push --all", self.manifest_list),
            ("build cache in the registry: --cache-to, --cache-from", self.cache),
            ("TLS with --cert-dir", self.tls),
        ]

    def run(self, *words: str) -> str:
        store = ("--root", self.folder / "root", "--runroot", self.folder / "run", "--storage-driver", "vfs")
        return self.shell.run(self.program, *store, *words)

    def image(self, name: str, *config: str) -> None:
        """One random layer with busybox in it."""
        container = self.run("from", "scratch").strip()
        word = self.folder / "word"
        word.write_bytes(os.urandom(5000))
        self.run("copy", "-q", container, str(self.folder / "busybox"), str(word), "/bin/")
        self.run("config", "--env", "HOW=buildah", *config, container)
        self.run("commit", "-q", "--rm", container, name)

    def digest_of(self, name: str) -> str:
        return self.run("inspect", "--type", "image", "--format", "{{.FromImageID}}", name).strip()

    def login(self) -> None:
        said = self.run("login", PLAIN, "-u", USER, "-p", PASSWORD, self.address)
        assert "Login Succeeded" in said, said

    def oci(self) -> None:
        name = f"{self.address}/buildah/oci:1"
        self.image(name)
        image = self.digest_of(name)
        self.run("push", PLAIN, name)
        assert self.api.manifest("buildah/oci", "1").media_type == MANIFEST
        self.api.whole("buildah/oci", "1")
        self.run("rmi", name)
        self.run("pull", PLAIN, name)
        assert self.digest_of(name) == image

    def v2s2(self) -> None:
        name = f"{self.address}/buildah/v2s2"
        self.image(name)
        self.run("push", PLAIN, "--format", "v2s2", name)
        found = self.api.manifest("buildah/v2s2", "latest")
        assert found.media_type == SCHEMA2
        self.run("rmi", name)
        self.run("pull", PLAIN, f"{name}@{found.digest}")

    def manifest_list(self) -> None:
        self.run("manifest", "create", "platforms")
        for arch in ("amd64", "arm64", "s390x"):
            self.image(f"localhost/{arch}", "--arch", arch)
            self.run("manifest", "add", "--arch", arch, "platforms", f"containers-storage:localhost/{arch}")
        self.run("manifest", "push", PLAIN, "--all", "platforms", f"docker://{self.address}/buildah/many:1")
        found = self.api.manifest("buildah/many", "1")
        assert found.media_type == INDEX
        assert len(found.json()["manifests"]) == 3
        self.api.whole("buildah/many", "1")
        self.run("manifest", "push", PLAIN, "--all", "--format", "v2s2", "platforms", f"docker://{self.address}/buildah/many:2")
        assert self.api.manifest("buildah/many", "2").media_type.endswith("manifest.list.v2+json")
        self.api.whole("buildah/many", "2")

    def cache(self) -> None:
        context = self.folder / "context"
        context.mkdir()
        shutil.copy(self.folder / "busybox", context)
        (context / "Containerfile").write_text('FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "touch", "/made"]\n')
        cache = f"{self.address}/buildah/cache"
        build = ("build", "--isolation", "chroot", PLAIN, "--layers", "--cache-to", cache, "--cache-from", cache)
        self.run(*build, "-t", "localhost/cached", str(context))
        assert len(self.api.tags("buildah/cache")) >= 2, "one image for each step"
        self.run("rmi", "--all", "--force")
        said = self.run(*build, "-t", "localhost/cached", str(context))
        assert "Cache pulled from remote" in said, said

    def tls(self) -> None:
        name = f"{self.kit.secure_name}/buildah/tls:1"
        self.image(name)
        trusted = ("--cert-dir", str(self.kit.authority.certificate.parent), "--creds", f"{USER}:{PASSWORD}")
        self.run("push", *trusted, name)
        self.kit.secure.api.whole("buildah/tls", "1")
        self.run("rmi", name)
        self.run("pull", *trusted, name)
