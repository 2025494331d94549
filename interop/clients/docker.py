"""The docker engine, with its own command line: an own daemon whose sockets, data and configuration lie in the work folder.

The daemon takes every address of 127.0.0.0/8 for insecure, so plain HTTP needs no setting there, and TLS is only verified
for `reg.test`, which leads to ::1. No bridge and no iptables: rules of the host stay as they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from interop.api import ANY_MANIFEST
from interop.kit import NAME, Client, Kit, Scenario
from interop.outcome import NotRun
from interop.servers import PASSWORD, USER, Registry, end, wait_for

CERTIFICATES = Path("/etc/docker/certs.d")
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Docker(Client):
    name = "docker"
    needs = ("docker", "dockerd", "busybox", "nginx")
    sandboxed = True

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.socket = f"unix://{self.folder}/docker.sock"
        self.daemon: subprocess.Popen[bytes] | None = None

    def version(self) -> str:
        return self.run("version", "--format", "{{.Server.Version}}").strip().partition("+")[0]

    def open(self) -> None:
        """overlay2 where the disk can, vfs else."""
        for driver in ("overlay2", "vfs"):
            try:
                self._start(driver)
                break
            except RuntimeError:
                if driver == "vfs":
                    raise
        self._base()

    def _start(self, driver: str) -> None:
        data = self.folder / driver
        words = [self.kit.programs.path("dockerd"), "--host", self.socket, "--data-root", data, "--exec-root", self.folder / "exec"]
        words += ["--pidfile", self.folder / "pid", "--storage-driver", driver, "--iptables=false", "--ip6tables=false", "--bridge=none"]
        log = self.folder / "dockerd.log"
        with log.open("ab") as output:
            self.daemon = subprocess.Popen(
                [*map(str, words), "--log-level", "warn"], stdout=output, stderr=output, env=os.environ | {"TMPDIR": str(self.folder)}
            )
        wait_for("dockerd", (self.folder / "docker.sock").exists, self.daemon, log)
        self.run("info")

    def _base(self) -> None:
        """An image from nothing but busybox."""
        tree = self.folder / "base"
        (tree / "bin").mkdir(parents=True)
        shutil.copy(self.kit.programs.path("busybox"), tree / "bin" / "busybox")
        (tree / "bin" / "sh").symlink_to("busybox")
        (tree / "random").write_bytes(os.urandom(64))
        self.shell.run("tar", "-C", tree, "-cf", self.folder / "base.tar", ".")
        self.run("import", str(self.folder / "base.tar"), "base:1")

    def close(self) -> None:
        if self.daemon:
            end(self.daemon, "dockerd")

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("pull before login is refused", self.before_login),
            ("login: wrong password refused, right one kept", self.login),
            ("push, pull, run", self.push_and_pull),
            ("six layers, second tag, mount into another repository", self.layers),
            ("pull by digest", self.by_digest),
            ("pull --all-tags", self.all_tags),
            ("manifest create, annotate, push; pull by platform", self.manifest_list),
            ("what is not there: manifest unknown", self.unknown),
            ("delete by digest through the API, then pull fails", self.delete),
            ("build FROM a pulled image, push, pull", self.build),
            ("build with BuildKit, its cache from the registry", self.buildkit),
            ("TLS: refused without our CA, works with it", self.tls),
            ("TLS with a client certificate", self.client_certificate),
            ("behind nginx on another port, plain", self.nginx_plain),
            ("behind nginx on another port, TLS", self.nginx_tls),
            ("behind nginx, host name without a port", self.nginx_bare),
            ("the newer command line on PATH", self.other_client),
        ]

    def run(self, *words: str, program: str = "", stdin: str = "") -> str:
        return self.shell.run(program or self.program, *words, environment={"DOCKER_HOST": self.socket}, stdin=stdin)

    def refused(self, *words: str) -> str:
        return self.shell.refused(self.program, *words, environment={"DOCKER_HOST": self.socket})

    def log_in(self, host: str, program: str = "") -> None:
        said = self.run("login", "-u", USER, "--password-stdin", host, program=program, stdin=PASSWORD)
        assert "Login Succeeded" in said, said

    def layered(self, name: str, count: int, size: int = 200_000) -> str:
        """`base:1` with so many layers of random bytes on top, made by cp and commit; returns the image id."""
        image = "base:1"
        for number in range(count):
            content = self.folder / "content"
            content.write_bytes(os.urandom(size))
            container = self.run("create", "--network", "none", image, "/bin/sh").strip()
            self.run("cp", str(content), f"{container}:/layer-{number}")
            self.run("commit", container, name)
            self.run("rm", container)
            image = name
        return self.identity(name)

    def identity(self, name: str) -> str:
        return self.run("image", "inspect", "--format", "{{.Id}}", name).strip()

    def round_trip(self, host: str, registry: Registry, repository: str, tag: str = "1", layers: int = 2, size: int = 200_000) -> None:
        """Push a new image of some layers, look at it through the API, drop it, pull it: the same image."""
        name = f"{host}/{repository}:{tag}"
        image = self.layered(name, layers, size)
        self.run("push", name)
        registry.api.whole(repository, tag)
        self.run("rmi", name)
        self.run("pull", name)
        assert self.identity(name) == image

    def before_login(self) -> None:
        said = self.refused("pull", f"{self.address}/docker/base:1")
        assert "no basic auth credentials" in said, said

    def login(self) -> None:
        said = self.refused("login", "-u", USER, "-p", "wrong", self.address)
        assert "401" in said or "unauthorized" in said, said
        self.log_in(self.address)
        kept = json.loads(Path(self.shell.environment["DOCKER_CONFIG"], "config.json").read_text())
        assert self.address in kept["auths"], kept

    def push_and_pull(self) -> None:
        name = f"{self.address}/docker/base:1"
        image = self.identity("base:1")
        self.run("tag", "base:1", name)
        said = self.run("push", name)
        assert self.api.digest("docker/base", "1") in said, said
        self.run("rmi", name, "base:1")
        self.run("pull", name)
        assert self.identity(name) == image
        said = self.run("run", "--rm", "--network", "none", name, "/bin/busybox", "echo", "from the registry")
        assert said.strip() == "from the registry", said
        self.run("tag", name, "base:1")

    def layers(self) -> None:
        name = f"{self.address}/docker/layers:1"
        image = self.layered(name, 6)
        self.run("push", name)
        self.api.whole("docker/layers", "1")
        self.run("tag", name, f"{self.address}/docker/layers:2")
        said = self.run("push", f"{self.address}/docker/layers:2")
        assert said.count("Layer already exists") == 7, said
        other = f"{self.address}/docker/deeper/mounted/here:1"
        self.run("tag", name, other)
        said = self.run("push", other)
        assert said.count("Mounted from docker/layers") >= 6, said
        self.api.whole("docker/deeper/mounted/here", "1")
        self.run("rmi", name, f"{self.address}/docker/layers:2", other)
        self.run("pull", name)
        assert self.identity(name) == image

    def by_digest(self) -> None:
        digest = self.api.digest("docker/layers", "1")
        image = self.identity(f"{self.address}/docker/layers:1")
        self.run("rmi", f"{self.address}/docker/layers:1")
        name = f"{self.address}/docker/layers@{digest}"
        assert digest in self.run("pull", name)
        assert self.identity(name) == image

    def all_tags(self) -> None:
        for tag in ("a", "b", "c"):
            name = f"{self.address}/docker/tags:{tag}"
            self.layered(name, 1)
        self.run("push", "--all-tags", f"{self.address}/docker/tags")
        assert self.api.tags("docker/tags") == ["a", "b", "c"]
        self.run("rmi", *(f"{self.address}/docker/tags:{tag}" for tag in "abc"))
        self.run("pull", "--all-tags", f"{self.address}/docker/tags")
        for tag in "abc":
            self.identity(f"{self.address}/docker/tags:{tag}")

    def manifest_list(self, program: str = "", repository: str = "docker/many") -> None:
        amd, arm, many = (f"{self.address}/{repository}:{tag}" for tag in ("amd64", "arm64", "many"))
        image = self.layered(amd, 1)
        self.layered(arm, 1)
        self.run("push", amd)
        self.run("push", arm)
        self.run("manifest", "create", "--insecure", many, amd, arm, program=program)
        self.run("manifest", "annotate", "--arch", "arm64", many, arm, program=program)
        digest = self.run("manifest", "push", "--insecure", many, program=program).split()[-1]
        found = self.api.manifest(repository, "many")
        assert (found.media_type, found.digest) == (LIST, digest)
        self.run("rmi", amd, arm)
        self.run("pull", many)
        assert self.identity(many) == image
        assert digest in self.run("image", "inspect", "--format", "{{.RepoDigests}}", many)
        shown = json.loads(self.run("manifest", "inspect", "--insecure", many, program=program))
        assert {entry["platform"]["architecture"] for entry in shown["manifests"]} == {"amd64", "arm64"}

    def unknown(self) -> None:
        for name in ("docker/base:never", "docker/never:1", f"docker/base@sha256:{'0' * 64}"):
            said = self.refused("pull", f"{self.address}/{name}")
            assert "manifest unknown" in said or "not found" in said, said

    def delete(self) -> None:
        name = f"{self.address}/docker/deleted:1"
        self.layered(name, 1)
        self.run("push", name)
        self.run("rmi", name)
        digest = self.api.digest("docker/deleted", "1")
        self.api.delete("docker/deleted", digest)
        for reference in (name, f"{self.address}/docker/deleted@{digest}"):
            said = self.refused("pull", reference)
            assert "manifest unknown" in said or "not found" in said, said
        assert self.api.tags("docker/deleted") == []
        self.layered(name, 1)
        self.run("push", name)
        assert self.api.tags("docker/deleted") == ["1"], "a new push after the deletion"

    def build(self) -> None:
        context = self.folder / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(f"FROM {self.address}/docker/base:1\nCOPY word /word\nLABEL made=here\n")
        (context / "word").write_bytes(os.urandom(1000))
        name = f"{self.address}/docker/built:1"
        self.run("rmi", f"{self.address}/docker/base:1")
        classic = {"DOCKER_HOST": self.socket, "DOCKER_BUILDKIT": "0"}
        self.shell.run(self.program, "build", "-t", name, context, environment=classic)
        self.run("push", name)
        self.api.whole("docker/built", "1")
        self.run("rmi", name)
        self.run("pull", name)

    def buildkit(self) -> None:
        context = self.folder / "buildkit"
        context.mkdir()
        (context / "Dockerfile").write_text(f'FROM {self.address}/docker/base:1\nRUN ["/bin/busybox", "touch", "/made"]\nCOPY word /word\n')
        (context / "word").write_bytes(os.urandom(1000))
        name = f"{self.address}/docker/buildkit:1"
        words = ("build", "--network", "none", "--progress", "plain", "--build-arg", "BUILDKIT_INLINE_CACHE=1")
        environment = {"DOCKER_HOST": self.socket, "DOCKER_BUILDKIT": "1"}
        self.shell.run(self.program, *words, "-t", name, context, environment=environment)
        self.run("push", name)
        self.api.whole("docker/buildkit", "1")
        self.run("rmi", name)
        self.run("builder", "prune", "--all", "--force")
        said = self.shell.run(self.program, *words, "--cache-from", name, "-t", "again:1", context, environment=environment)
        assert said.count("CACHED") >= 2, said

    def tls(self) -> None:
        host = self.kit.secure_name
        said = self.refused("login", "-u", USER, "-p", PASSWORD, host)
        assert "unknown authority" in said, said
        self.kit.trust(CERTIFICATES, host)
        self.log_in(host)
        self.round_trip(host, self.kit.secure, "docker/tls")

    def client_certificate(self) -> None:
        registry = self.kit.registry("mutual", tls=True, clients=self.kit.authority.certificate)
        self.kit.serve(registry)
        host = f"{NAME}:{registry.port}"
        self.kit.trust(CERTIFICATES, host)
        said = self.refused("pull", f"{host}/docker/mutual:1")
        assert "certificate required" in said or "bad certificate" in said or "EOF" in said or "reset" in said, said
        certificate, key = self.kit.authority.client("docker")
        shutil.copy(certificate, CERTIFICATES / host / "client.cert")
        shutil.copy(key, CERTIFICATES / host / "client.key")
        name = f"{host}/docker/mutual:1"
        image = self.layered(name, 1)
        self.run("push", name)
        self.run("rmi", name)
        self.run("pull", name)
        assert self.identity(name) == image

    def nginx_plain(self) -> None:
        host = self.kit.behind.plain
        self.log_in(host)
        self.round_trip(host, self.kit.plain, "docker/nginx-plain")

    def nginx_tls(self) -> None:
        host = self.kit.behind.secure
        self.kit.trust(CERTIFICATES, host)
        self.log_in(host)
        self.round_trip(host, self.kit.plain, "docker/nginx-tls", layers=2, size=24_000_000)

    def nginx_bare(self) -> None:
        host = self.kit.bare
        self.kit.trust(CERTIFICATES, host)
        self.log_in(host)
        self.round_trip(host, self.kit.plain, "single-component")

    def other_client(self) -> None:
        """A second docker command line, where PATH has one: login, manifest lists and inspection are done by it, not by the daemon."""
        newer = shutil.which("docker")
        if not newer or Path(newer).resolve() == Path(self.program).resolve():
            raise NotRun("there is only one docker on PATH")
        self.log_in(self.address, newer)
        self.manifest_list(newer, "docker/newer")
        answer = self.api.ask("HEAD", "/v2/docker/newer/manifests/many", headers={"Accept": ANY_MANIFEST})
        assert answer.status == 200
