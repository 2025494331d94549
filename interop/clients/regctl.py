"""regctl: copies with referrers and digest tags, artifacts with subjects, tag deletion by the tag alone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from interop.install import version_in
from interop.kit import Client, Kit, Scenario
from interop.servers import PASSWORD, USER

KIND = "application/vnd.interop.note"


class Regctl(Client):
    name = "regctl"
    needs = ("regctl",)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.layout = kit.layout("regctl")
        self.many = self.layout.platforms()
        self.app = f"{self.address}/regctl/app"

    def version(self) -> str:
        return version_in(self.run("version"))

    def open(self) -> None:
        self.layout.name(self.many, "many")
        self.run("registry", "set", "--skip-check", "--tls", "disabled", self.address)

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("registry login", self.login),
            ("image copy from a layout and to another repository", self.copy),
            ("tag ls, repo ls, image digest, manifest get", self.names),
            ("artifact put with subject, artifact list", self.artifacts),
            ("image copy --referrers --digest-tags", self.referrers),
            ("blob put and get", self.blobs),
            ("image check-base, image mod with a new manifest", self.modify),
            ("tag delete leaves the other tags", self.delete_tag),
            ("manifest delete", self.delete),
        ]

    def run(self, *words: str, stdin: str = "") -> str:
        environment = {"REGCTL_CONFIG": str(self.folder / "config.json")}
        return self.shell.run(self.program, *words, environment=environment, stdin=stdin)

    def login(self) -> None:
        self.run("registry", "login", "-u", USER, "-p", PASSWORD, self.address)

    def copy(self) -> None:
        self.run("image", "copy", f"ocidir://{self.layout.folder}:many", f"{self.app}:1")
        assert self.api.digest("regctl/app", "1") == self.many["digest"]
        self.api.whole("regctl/app", "1")
        self.run("image", "copy", f"{self.app}:1", f"{self.address}/regctl/copied/app:1")
        self.api.whole("regctl/copied/app", "1")
        for tag in ("2", "3"):
            self.run("image", "copy", f"{self.app}:1", f"{self.app}:{tag}")

    def names(self) -> None:
        assert sorted(self.run("tag", "ls", self.app).split()) == ["1", "2", "3"]
        assert {"regctl/app", "regctl/copied/app"} <= set(self.run("repo", "ls", self.address).split())
        assert self.run("image", "digest", f"{self.app}:1").strip() == self.many["digest"]
        one = json.loads(self.run("manifest", "get", "--platform", "linux/arm64", "--format", "raw-body", f"{self.app}:1"))
        assert len(one["layers"]) == 1, one

    def artifacts(self) -> None:
        put = ("artifact", "put", "--artifact-type", KIND, "--subject", f"{self.app}:1", "-m", "text/plain")
        self.run(*put, stdin="a note about it")
        assert KIND in self.run("artifact", "list", f"{self.app}:1")
        said = self.run("artifact", "get", "--subject", f"{self.app}:1", "--filter-artifact-type", KIND)
        assert said.strip() == "a note about it", said

    def referrers(self) -> None:
        target = f"{self.address}/regctl/with-referrers"
        self.run("image", "copy", "--referrers", "--digest-tags", f"{self.app}:1", f"{target}:1")
        assert KIND in self.run("artifact", "list", f"{target}:1")
        if not self.kit.oracle:
            assert [entry["artifactType"] for entry in self.api.referrers("regctl/with-referrers", self.many["digest"])] == [KIND]

    def blobs(self) -> None:
        digest = self.run("blob", "put", self.app, stdin="some bytes").strip().split()[-1]
        assert self.run("blob", "get", self.app, digest) == "some bytes"

    def modify(self) -> None:
        self.run("image", "mod", f"{self.app}:2", "--create", f"{self.app}:modified", "--annotation", "made=here")
        found = self.api.manifest("regctl/app", "modified").json()
        assert found["annotations"] == {"made": "here"}, found
        self.api.whole("regctl/app", "modified")

    def delete_tag(self) -> None:
        self.run("tag", "delete", f"{self.app}:3")
        assert "3" not in self.api.tags("regctl/app")
        assert self.api.digest("regctl/app", "1") == self.many["digest"], "same manifest, other tag"

    def delete(self) -> None:
        self.run("manifest", "delete", f"{self.app}@{self.many['digest']}")
        assert self.api.gone("regctl/app", "1") and self.api.gone("regctl/app", "2")
