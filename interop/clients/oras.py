"""oras: artifacts of any type, referrers (attach, discover), copies with them, blobs and manifests one by one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from interop.api import sha256
from interop.install import version_in
from interop.kit import Client, Kit, Scenario
from interop.outcome import NotRun
from interop.servers import PASSWORD, USER

SBOM, SIGNATURE = "application/vnd.interop.sbom", "application/vnd.interop.signature"


class Oras(Client):
    name = "oras"
    needs = ("oras",)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.art = f"{self.address}/oras/art"
        (self.folder / "one.txt").write_bytes(os.urandom(40_000))
        (self.folder / "two.json").write_text('{"word": 2}')

    def version(self) -> str:
        return version_in(self.run("version"))

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("login: wrong password refused, right one kept", self.login),
            ("push an artifact of two files, pull it", self.push_and_pull),
            ("attach, discover: referrers API or tag", self.attach),
            ("referrers by type, seen through the API", self.referrers),
            ("cp -r with all referrers", self.copy),
            ("cp from an OCI layout and back", self.layout),
            ("tag, resolve, repo tags, repo ls", self.names),
            ("blob push, fetch, delete", self.blobs),
            ("manifest push, fetch, delete", self.manifests),
            ("TLS with --ca-file", self.tls),
        ]

    def run(self, *words: str) -> str:
        return self.shell.run(self.program, *words, cwd=self.folder)

    def login(self) -> None:
        said = self.shell.refused(self.program, "login", "--plain-http", "-u", USER, "-p", "wrong", self.address)
        assert "401" in said or "unauthorized" in said, said
        self.run("login", "--plain-http", "-u", USER, "-p", PASSWORD, self.address)

    def push_and_pull(self) -> None:
        files = ("one.txt:text/plain", "two.json:application/json")
        self.run("push", "--plain-http", "--artifact-type", "application/vnd.interop.art", f"{self.art}:1", *files)
        found = self.api.manifest("oras/art", "1").json()
        assert found["artifactType"] == "application/vnd.interop.art", found
        self.api.whole("oras/art", "1")
        self.run("pull", "--plain-http", "-o", "pulled", f"{self.art}:1")
        for name in ("one.txt", "two.json"):
            assert (self.folder / "pulled" / name).read_bytes() == (self.folder / name).read_bytes()

    def attach(self) -> None:
        for kind in (SBOM, SIGNATURE):
            self.run("attach", "--plain-http", "--artifact-type", kind, f"{self.art}:1", "two.json:application/json")
        kinds = [entry["artifactType"] for entry in self.discovered(f"{self.art}:1")]
        assert sorted(kinds) == [SBOM, SIGNATURE], kinds
        assert [entry["artifactType"] for entry in self.discovered(f"{self.art}:1", "--artifact-type", SBOM)] == [SBOM]
        assert SBOM in self.run("discover", "--plain-http", f"{self.art}:1")

    def discovered(self, name: str, *options: str) -> list[dict[str, Any]]:
        found = json.loads(self.run("discover", "--plain-http", "--format", "json", *options, name))
        return list(found.get("referrers") or found.get("manifests") or [])

    def referrers(self) -> None:
        if self.kit.oracle:
            raise NotRun("docker-registry 2.8 has no referrers API")
        found = self.api.referrers("oras/art", self.api.digest("oras/art", "1"))
        assert sorted(entry["artifactType"] for entry in found) == [SBOM, SIGNATURE], found
        assert self.api.tags("oras/art") == ["1"], "with the API there is no need for a referrers tag"

    def copy(self) -> None:
        target = f"{self.address}/oras/copied/art"
        self.run("cp", "--from-plain-http", "--to-plain-http", "-r", f"{self.art}:1", f"{target}:1")
        assert self.api.digest("oras/copied/art", "1") == self.api.digest("oras/art", "1")
        assert len(self.discovered(f"{target}:1")) == 2

    def layout(self) -> None:
        layout = self.kit.layout("oras")
        many = layout.platforms()
        source = layout.name(many, "many")
        self.run("cp", "--from-oci-layout", "--to-plain-http", source, f"{self.address}/oras/many:1")
        assert self.api.digest("oras/many", "1") == many["digest"]
        self.api.whole("oras/many", "1")
        self.run("cp", "--to-oci-layout", "--from-plain-http", f"{self.address}/oras/many:1", f"{self.folder}/back:1")
        assert (self.folder / "back" / "blobs" / "sha256" / many["digest"][7:]).is_file()
        platform = self.run("manifest", "fetch", "--plain-http", "--platform", "linux/arm64", "--descriptor", f"{self.address}/oras/many:1")
        assert json.loads(platform)["platform"]["architecture"] == "arm64", platform

    def names(self) -> None:
        self.run("tag", "--plain-http", f"{self.art}:1", "a", "b", "c")
        digest = self.api.digest("oras/art", "1")
        assert self.run("resolve", "--plain-http", f"{self.art}:c").strip() == digest
        listed = sorted(self.run("repo", "tags", "--plain-http", "--exclude-digest-tags", self.art).split())
        assert listed == ["1", "a", "b", "c"], listed
        assert "art" in self.run("repo", "ls", "--plain-http", f"{self.address}/oras").split()

    def blobs(self) -> None:
        content = (self.folder / "one.txt").read_bytes()
        name = f"{self.address}/oras/blobs@{sha256(content)}"
        self.run("blob", "push", "--plain-http", name, "one.txt")
        self.run("blob", "fetch", "--plain-http", "-o", "fetched", name)
        assert (self.folder / "fetched").read_bytes() == content
        self.run("blob", "delete", "--plain-http", "--force", name)
        assert self.api.ask("HEAD", f"/v2/oras/blobs/blobs/{sha256(content)}").status == 404

    def manifests(self) -> None:
        manifest = self.folder / "manifest.json"
        manifest.write_bytes(self.api.manifest("oras/art", "1").body + b"\n")
        self.run("manifest", "push", "--plain-http", f"{self.art}:edited", "manifest.json")
        assert self.api.digest("oras/art", "edited") == sha256(manifest.read_bytes())
        self.run("manifest", "delete", "--plain-http", "--force", f"{self.art}:edited")
        assert self.api.gone("oras/art", "edited")
        assert not self.api.gone("oras/art", "1")

    def tls(self) -> None:
        target = f"{self.kit.secure_name}/oras/tls:1"
        trusted = ("--plain-http=false", "--ca-file", str(self.kit.authority.certificate), "-u", USER, "-p", PASSWORD)
        said = self.shell.refused(
            self.program, "push", "--plain-http=false", "-u", USER, "-p", PASSWORD, target, "one.txt", cwd=self.folder
        )
        assert "certificate" in said, said
        self.run("push", *trusted, target, "one.txt:text/plain")
        self.run("attach", *trusted, "--artifact-type", SBOM, target, "two.json:application/json")
        self.kit.secure.api.whole("oras/tls", "1")
