"""crane: append, push, pull, cp, tag, ls, catalog, validate, mutate, delete; it also asks for referrers and mounts with `origin`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from interop.images import tar_of
from interop.install import version_in
from interop.kit import Client, Kit, Scenario
from interop.servers import PASSWORD, USER


class Crane(Client):
    name = "crane"
    needs = ("crane",)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.layout = kit.layout("crane")
        self.image = self.layout.image(layers=2)
        self.app = f"{self.address}/crane/app"

    def version(self) -> str:
        return version_in(self.run("version"))

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("auth login", self.login),
            ("append to nothing, export", self.append),
            ("push a layout, digest, manifest, config, blob", self.push),
            ("pull as tarball and as layout, push the tarball", self.pull),
            ("cp of an index to another repository", self.copy),
            ("tag, ls", self.tags),
            ("validate --remote", self.validate),
            ("mutate, flatten, rebase of tags", self.mutate),
            ("index append", self.index),
            ("catalog", self.catalog),
            ("delete by digest", self.delete),
            ("TLS with our own CA", self.tls),
        ]

    def run(self, *words: str, **environment: str) -> str:
        return self.shell.run(self.program, *words, environment=environment)

    def login(self) -> None:
        self.run("auth", "login", self.address, "-u", USER, "-p", PASSWORD)

    def append(self) -> None:
        layer = self.folder / "layer.tar"
        layer.write_bytes(tar_of({"hello": b"from crane\n" * 1000}))
        self.run("append", "-f", str(layer), "-t", f"{self.address}/crane/appended:1")
        self.api.whole("crane/appended", "1")
        out = self.folder / "exported.tar"
        self.run("export", f"{self.address}/crane/appended:1", str(out))
        assert b"from crane" in out.read_bytes()

    def push(self) -> None:
        self.layout.name(self.image, "it")
        self.run("push", str(self.layout.folder), f"{self.app}:1")
        assert self.run("digest", f"{self.app}:1").strip() == self.image["digest"]
        manifest = json.loads(self.run("manifest", f"{self.app}:1"))
        assert json.loads(self.run("config", f"{self.app}:1"))["architecture"] == "amd64"
        config = self.run("blob", f"{self.app}@{manifest['config']['digest']}")
        assert json.loads(config)["os"] == "linux"
        self.api.whole("crane/app", "1")

    def pull(self) -> None:
        tarball = self.folder / "pulled.tar"
        self.run("pull", f"{self.app}:1", str(tarball))
        self.run("push", str(tarball), f"{self.address}/crane/from-tar:1")
        self.api.whole("crane/from-tar", "1")
        layout = self.folder / "pulled"
        self.run("pull", "--format", "oci", f"{self.app}:1", str(layout))
        digests = [entry["digest"] for entry in json.loads((layout / "index.json").read_text())["manifests"]]
        assert digests == [self.image["digest"]]

    def copy(self) -> None:
        layout = self.kit.layout("crane-many")
        many = layout.platforms()
        layout.name(many, "it")
        self.run("push", "--index", str(layout.folder), f"{self.address}/crane/wrapped:1")
        self.run("cp", f"{self.address}/crane/wrapped:1", f"{self.address}/crane/deep/er/copied:1")
        assert self.api.digest("crane/deep/er/copied", "1") == self.api.digest("crane/wrapped", "1")
        self.api.whole("crane/deep/er/copied", "1")
        self.run("cp", "--platform", "linux/arm64", f"{self.address}/crane/wrapped@{many['digest']}", f"{self.address}/crane/arm:1")
        assert json.loads(self.run("config", f"{self.address}/crane/arm:1"))["architecture"] == "arm64"
        self.run("cp", "--all-tags", f"{self.address}/crane/app", f"{self.address}/crane/all-tags")
        assert self.api.tags("crane/all-tags") == self.api.tags("crane/app")

    def tags(self) -> None:
        for tag in ("2", "latest", "z_9.0-rc"):
            self.run("tag", f"{self.app}:1", tag)
        assert sorted(self.run("ls", self.app).split()) == ["1", "2", "latest", "z_9.0-rc"]
        assert self.api.digest("crane/app", "z_9.0-rc") == self.image["digest"]

    def validate(self) -> None:
        for name in ("crane/app:1", "crane/deep/er/copied:1", "crane/from-tar:1"):
            said = self.run("validate", "--remote", f"{self.address}/{name}")
            assert "PASS" in said, said

    def mutate(self) -> None:
        target = f"{self.address}/crane/mutated:1"
        self.run("mutate", f"{self.app}:1", "--label", "made=here", "--annotation", "by=crane", "-t", target)
        assert json.loads(self.run("config", target))["config"]["Labels"] == {"made": "here"}
        self.run("flatten", target, "-t", f"{self.address}/crane/flat:1")
        assert len(json.loads(self.run("manifest", f"{self.address}/crane/flat:1"))["layers"]) == 1
        self.run("validate", "--remote", f"{self.address}/crane/flat:1")

    def index(self) -> None:
        target = f"{self.address}/crane/index:1"
        self.run("index", "append", "-m", f"{self.app}:1", "-m", f"{self.address}/crane/arm:1", "-t", target)
        assert len(json.loads(self.run("manifest", target))["manifests"]) == 2
        self.api.whole("crane/index", "1")

    def catalog(self) -> None:
        found = self.run("catalog", self.address).split()
        assert found == self.api.catalog()
        assert {"crane/app", "crane/deep/er/copied"} <= set(found)

    def delete(self) -> None:
        digest = self.api.digest("crane/from-tar", "1")
        self.run("delete", f"{self.address}/crane/from-tar@{digest}")
        said = self.shell.refused(self.program, "manifest", f"{self.address}/crane/from-tar:1")
        assert "MANIFEST_UNKNOWN" in said, said

    def tls(self) -> None:
        target = f"{self.kit.secure_name}/crane/tls:1"
        trusted = {"SSL_CERT_FILE": str(self.kit.authority.certificate)}
        self.run("auth", "login", self.kit.secure_name, "-u", USER, "-p", PASSWORD, **trusted)
        said = self.shell.refused(self.program, "push", self.layout.folder, target)
        assert "certificate" in said, said
        self.run("push", str(self.layout.folder), target, **trusted)
        assert self.kit.secure.api.digest("crane/tls", "1") == self.image["digest"]
