"""skopeo: copies between folders, archives and registries, with both manifest families; inspect, list-tags, delete, sync."""

from __future__ import annotations

import json
from collections.abc import Sequence

from interop.api import ANY_MANIFEST, sha256
from interop.kit import Client, Kit, Scenario
from interop.servers import PASSWORD, USER

LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
SCHEMA2 = "application/vnd.docker.distribution.manifest.v2+json"


class Skopeo(Client):
    name = "skopeo"
    needs = ("skopeo",)

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.shell.own_logins()
        self.host = f"docker://{self.address}"
        self.layout = kit.layout("skopeo")
        self.single = self.layout.image(layers=3)
        self.many = self.layout.platforms()
        self.policy = self.folder / "policy.json"
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("login: wrong password refused, right one kept", self.login),
            ("copy oci: and back, byte for byte", self.copy),
            ("copy --all of an index, one platform of it", self.copy_all),
            ("copy docker-archive: and dir:", self.archives),
            ("copy between repositories, with mounts", self.between),
            ("copy --format v2s2, and a list of them", self.docker_types),
            ("copy with zstd layers", self.zstd),
            ("inspect, inspect --raw, --config", self.inspect),
            ("list-tags", self.list_tags),
            ("sync docker to dir and back", self.sync),
            ("delete", self.delete),
            ("TLS with our own CA", self.tls),
        ]

    def run(self, *words: str) -> str:
        return self.shell.run(self.program, "--policy", self.policy, *words)

    def to(self, source: str, target: str, *options: str) -> str:
        return self.run("copy", "--dest-tls-verify=false", *options, source, f"{self.host}/{target}")

    def back(self, source: str, target: str, *options: str) -> str:
        return self.run("copy", "--src-tls-verify=false", *options, f"{self.host}/{source}", target)

    def login(self) -> None:
        said = self.shell.refused(self.program, "login", "--tls-verify=false", "-u", USER, "-p", "wrong", self.address)
        assert "invalid username/password" in said, said
        self.run("login", "--tls-verify=false", "-u", USER, "-p", PASSWORD, self.address)

    def copy(self) -> None:
        self.to(f"oci:{self.layout.name(self.single, 'single')}", "skopeo/app:1")
        assert self.api.digest("skopeo/app", "1") == self.single["digest"]
        self.api.whole("skopeo/app", "1")
        self.back("skopeo/app:1", f"oci:{self.folder}/copy-back:1")
        for blob in (self.layout.folder / "blobs" / "sha256").iterdir():
            if self.single["digest"].endswith(blob.name):
                assert (self.folder / "copy-back" / "blobs" / "sha256" / blob.name).read_bytes() == blob.read_bytes()

    def copy_all(self) -> None:
        source = f"oci:{self.layout.name(self.many, 'many')}"
        self.to(source, "skopeo/many:1", "--all")
        assert self.api.digest("skopeo/many", "1") == self.many["digest"]
        self.api.whole("skopeo/many", "1")
        target = self.folder / "copy-many"
        self.back("skopeo/many:1", f"oci:{target}:1", "--all")
        names = json.loads((target / "index.json").read_text())["manifests"]
        assert [entry["digest"] for entry in names] == [self.many["digest"]]
        arm = json.loads(self.run("--override-arch", "arm64", "inspect", "--tls-verify=false", f"{self.host}/skopeo/many:1"))
        assert arm["Architecture"] == "arm64", arm

    def archives(self) -> None:
        archive, folder = f"docker-archive:{self.folder}/copy.tar", f"dir:{self.folder}/copy-dir"
        self.back("skopeo/app:1", f"{archive}:app:1")
        self.to(archive, "skopeo/from-archive:1")
        assert self.api.manifest("skopeo/from-archive", "1").media_type == SCHEMA2
        self.api.whole("skopeo/from-archive", "1")
        self.back("skopeo/app:1", folder)
        self.to(folder, "skopeo/from-dir:1")
        assert self.api.digest("skopeo/from-dir", "1") == self.single["digest"]

    def between(self) -> None:
        self.run(
            "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", f"{self.host}/skopeo/many:1", f"{self.host}/other/a/b/c:1"
        )
        assert self.api.digest("other/a/b/c", "1") == self.many["digest"]
        self.api.whole("other/a/b/c", "1")
        assert self.kit.plain.logged("POST /v2/other/a/b/c/blobs/uploads/?", "mount=", " 201 "), "no blob was mounted"

    def docker_types(self) -> None:
        self.to(f"oci:{self.layout.folder}:single", "skopeo/v2s2:1", "--format", "v2s2")
        assert self.api.manifest("skopeo/v2s2", "1").media_type == SCHEMA2
        self.to(f"oci:{self.layout.folder}:many", "skopeo/v2s2:many", "--format", "v2s2", "--all")
        assert self.api.manifest("skopeo/v2s2", "many").media_type == LIST
        self.api.whole("skopeo/v2s2", "many")
        self.back("skopeo/v2s2:many", f"dir:{self.folder}/copy-v2s2", "--all")

    def zstd(self) -> None:
        name = self.layout.name(self.layout.image(), "zstd")
        self.to(f"oci:{name}", "skopeo/zstd:1", "--dest-compress-format", "zstd", "--dest-compress")
        self.api.whole("skopeo/zstd", "1")
        self.back("skopeo/zstd:1", f"oci:{self.folder}/copy-zstd:1")

    def inspect(self) -> None:
        found = json.loads(self.run("inspect", "--tls-verify=false", f"{self.host}/skopeo/app:1"))
        assert found["Digest"] == self.single["digest"], found
        assert len(found["Layers"]) == 3, found
        assert found["RepoTags"] == ["1"], found
        raw = self.run("inspect", "--raw", "--tls-verify=false", f"{self.host}/skopeo/app@{self.single['digest']}")
        assert sha256(raw.encode()) == self.single["digest"]
        config = json.loads(self.run("inspect", "--config", "--tls-verify=false", f"{self.host}/skopeo/app:1"))
        assert config["architecture"] == "amd64", config

    def list_tags(self) -> None:
        for tag in ("b", "10", "9", "a.b-c_d"):
            self.to(f"oci:{self.layout.folder}:single", f"skopeo/tags:{tag}")
        found = json.loads(self.run("list-tags", "--tls-verify=false", f"{self.host}/skopeo/tags"))
        assert sorted(found["Tags"]) == ["10", "9", "a.b-c_d", "b"], found
        said = self.shell.refused(self.program, "list-tags", "--tls-verify=false", f"{self.host}/skopeo/never-pushed")
        assert "repository name not known" in said or "404" in said, said

    def sync(self) -> None:
        folder = self.folder / "sync"
        folder.mkdir()
        flags = ("--all", "--src-tls-verify=false", "--dest-tls-verify=false")
        self.run("sync", *flags, "--src", "docker", "--dest", "dir", f"{self.address}/skopeo/many", str(folder))
        self.run("sync", *flags, "--src", "dir", "--dest", "docker", str(folder), f"{self.address}/synced")
        assert self.api.digest("synced/many", "1") == self.many["digest"]
        self.run("sync", *flags, "--src", "docker", "--dest", "docker", f"{self.address}/skopeo/tags", f"{self.address}/again")
        assert self.api.tags("again/tags") == self.api.tags("skopeo/tags")

    def delete(self) -> None:
        self.run("delete", "--tls-verify=false", f"{self.host}/skopeo/from-dir:1")
        assert self.api.gone("skopeo/from-dir", "1")
        assert self.api.gone("skopeo/from-dir", self.single["digest"])
        assert self.api.digest("skopeo/app", "1") == self.single["digest"], "another repository keeps its manifest"
        answer = self.api.ask("HEAD", f"/v2/skopeo/app/manifests/{self.single['digest']}", headers={"Accept": ANY_MANIFEST})
        assert answer.status == 200

    def tls(self) -> None:
        target, source = f"docker://{self.kit.secure_name}/skopeo/tls:1", f"oci:{self.layout.folder}:many"
        credentials = ("--dest-creds", f"{USER}:{PASSWORD}")
        nothing = self.folder / "nothing"
        nothing.mkdir()
        words = ("copy", *credentials, "--dest-cert-dir", nothing, source, target)
        said = self.shell.refused(self.program, "--policy", self.policy, *words)
        assert "unknown authority" in said, said
        self.run("copy", "--all", *credentials, "--dest-cert-dir", str(self.kit.authority.certificate.parent), source, target)
        assert self.kit.secure.api.digest("skopeo/tls", "1") == self.many["digest"]
