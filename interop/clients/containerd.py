"""containerd, driven by its `ctr`: an own daemon without CRI, hosts folders for TLS and for a mirror with its `ns` query."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

from interop.images import Descriptor
from interop.install import version_in
from interop.kit import Client, Kit, Scenario
from interop.servers import PASSWORD, USER, end, wait_for

MIRRORED = "upstream.test"
"""The name that images have for the client while they come from us."""


class Containerd(Client):
    name = "containerd"
    needs = ("ctr", "containerd")
    sandboxed = True

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.layout = kit.layout("containerd")
        self.socket = self.folder / "containerd.sock"
        self.daemon: subprocess.Popen[bytes] | None = None

    def version(self) -> str:
        return version_in(self.run("version").partition("Server:")[2])

    def open(self) -> None:
        config, log = self.folder / "config.toml", self.folder / "containerd.log"
        config.write_text(
            f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n'
        )
        with log.open("ab") as output:
            self.daemon = subprocess.Popen(
                [self.kit.programs.path("containerd"), "--config", str(config), "--log-level", "warn"],
                stdout=output,
                stderr=output,
                env=os.environ | {"TMPDIR": str(self.folder)},
            )
        wait_for("containerd", self.socket.exists, self.daemon, log)

    def close(self) -> None:
        if self.daemon:
            end(self.daemon, "containerd")

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("push and pull, plain HTTP", self.push_and_pull),
            ("push again: nothing is sent twice", self.again),
            ("index of three platforms, whole", self.index),
            ("pull by digest", self.by_digest),
            ("wrong password refused", self.wrong_password),
            ("TLS with our CA in a hosts folder", self.tls),
            ("mirror in a hosts folder, with ns query", self.mirror),
        ]

    def run(self, *words: str) -> str:
        return self.shell.run(self.program, "-a", self.socket, "-n", "interop", *words)

    def imported(self, descriptor: Descriptor, name: str) -> None:
        """Bring one image of our making into containerd under that name."""
        layout = self.kit.layout(f"containerd-{secrets.token_hex(4)}")
        for blob in (self.layout.folder / "blobs" / "sha256").iterdir():
            os.link(blob, layout.folder / "blobs" / "sha256" / blob.name)
        layout.name(descriptor, "it")
        archive = layout.archive(self.folder / "import.tar")
        self.run("images", "import", "--all-platforms", "--no-unpack", "--digests", "--base-name", "import.test/it", str(archive))
        self.run("images", "tag", "--force", f"import.test/it@{descriptor['digest']}", name)

    def drop(self, *names: str) -> None:
        """Images and their content, so that a pull fetches everything."""
        everything = self.run("images", "list", "-q").split()
        self.run("images", "remove", "--sync", *everything)

    def push_and_pull(self) -> None:
        self.image = self.layout.image(layers=3)
        self.tagged = f"{self.address}/containerd/app:1"
        self.imported(self.image, self.tagged)
        self.run("images", "push", "--plain-http", "-u", f"{USER}:{PASSWORD}", self.tagged)
        assert self.api.digest("containerd/app", "1") == self.image["digest"]
        self.api.whole("containerd/app", "1")
        self.drop()
        self.run("images", "pull", "--plain-http", "-u", f"{USER}:{PASSWORD}", self.tagged)
        assert self.image["digest"] in self.run("images", "list")

    def again(self) -> None:
        self.run("images", "push", "--plain-http", "-u", f"{USER}:{PASSWORD}", self.tagged)
        assert self.kit.plain.logged("HEAD /v2/containerd/app/manifests/1", " 200 ")

    def index(self) -> None:
        self.many = self.layout.platforms()
        name = f"{self.address}/containerd/many:1"
        self.imported(self.many, name)
        self.run("images", "push", "--plain-http", "-u", f"{USER}:{PASSWORD}", name)
        assert self.api.digest("containerd/many", "1") == self.many["digest"]
        self.api.whole("containerd/many", "1")
        self.drop()
        self.run("images", "pull", "--plain-http", "--all-platforms", "-u", f"{USER}:{PASSWORD}", name)

    def by_digest(self) -> None:
        self.drop()
        name = f"{self.address}/containerd/app@{self.image['digest']}"
        self.run("images", "pull", "--plain-http", "-u", f"{USER}:{PASSWORD}", name)
        assert self.image["digest"] in self.run("images", "list")

    def wrong_password(self) -> None:
        words = ("images", "pull", "--plain-http", "-u", f"{USER}:wrong", self.tagged)
        said = self.shell.refused(self.program, "-a", self.socket, "-n", "interop", *words)
        assert "401" in said or "authorization failed" in said or "unauthorized" in said, said

    def hosts(self, name: str, server: str, capabilities: str, extra: str = "") -> Path:
        folder = self.folder / "hosts" / name
        folder.mkdir(parents=True)
        text = f'server = "{server}"\n[host."{server}"]\ncapabilities = [{capabilities}]\n{extra}'
        (folder / "hosts.toml").write_text(text)
        return folder.parent

    def tls(self) -> None:
        host = self.kit.secure_name
        authority = f'ca = "{self.kit.authority.certificate}"\n'
        folder = self.hosts(host, f"https://{host}", '"pull", "resolve", "push"', authority)
        name = f"{host}/containerd/tls:1"
        self.imported(self.many, name)
        self.run("images", "push", "--hosts-dir", str(folder), "-u", f"{USER}:{PASSWORD}", name)
        self.kit.secure.api.whole("containerd/tls", "1")
        self.drop()
        self.run("images", "pull", "--hosts-dir", str(folder), "-u", f"{USER}:{PASSWORD}", name)

    def mirror(self) -> None:
        self.drop()
        folder = self.hosts(MIRRORED, f"http://{self.address}", '"pull", "resolve"')
        name = f"{MIRRORED}/containerd/app:1"
        self.run("images", "pull", "--hosts-dir", str(folder), "-u", f"{USER}:{PASSWORD}", name)
        for request in ("HEAD /v2/containerd/app/manifests/1?ns=", "GET /v2/containerd/app/blobs/sha256:"):
            assert self.kit.plain.logged(request, f"ns={MIRRORED}", " 200 "), request
