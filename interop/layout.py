"""One data folder, served by us and by docker-registry in turn, with no conversion step in between.

    ours -> docker-registry     what we wrote is all there, byte for byte, and can be pulled and added to
    docker-registry -> ours     the same the other way, with the dirt that old folders have

The two never run at the same time. What a server shows is taken as a `Contents`: catalog, tags, and the bytes of every manifest, every
child and every blob they name; two `Contents` are equal or the scenario fails with the first difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from interop.api import Api, sha256
from interop.images import MANIFEST, Descriptor
from interop.install import version_in
from interop.kit import OURS, Client, Kit, Scenario
from interop.servers import Registry

TREE = Path("docker", "registry", "v2")
HALF = "interop/half-uploaded"
LOST = f"sha256:{'2' * 64}"
"""A digest whose links are there and whose data is gone."""


@dataclass
class Contents:
    tags: dict[str, list[str]] = field(default_factory=dict)
    """Repository -> its tags; repositories without a tag are left out, the two servers do not agree on listing them."""
    manifests: dict[str, tuple[str, str]] = field(default_factory=dict)
    """`repository:tag` and `repository@digest` -> media type and digest."""

    def same_as(self, other: Contents) -> None:
        _compare(self.tags, other.tags)
        _compare(self.manifests, other.manifests)


def _compare(before: Mapping[str, object], after: Mapping[str, object]) -> None:
    for name in sorted({*before, *after}):
        assert before.get(name) == after.get(name), f"{name}: {before.get(name)} became {after.get(name)}"


def contents(api: Api) -> Contents:
    """All that a server shows; every digest is checked against the bytes on the way."""
    found = Contents()
    for repository in api.catalog():
        tags = api.tags(repository)
        if tags:
            found.tags[repository] = tags
        for tag in tags:
            _take(api, found, repository, tag)
    return found


def _take(api: Api, found: Contents, repository: str, reference: str) -> None:
    answer = api.manifest(repository, reference)
    found.manifests[f"{repository}:{reference}"] = (answer.media_type, answer.digest)
    document = answer.json()
    for child in document.get("manifests", []):
        _take(api, found, repository, child["digest"])
    for part in [document.get("config"), *document.get("layers", [])]:
        if part is not None:
            blob = api.ask("GET", f"/v2/{repository}/blobs/{part['digest']}")
            assert blob.status == 200 and sha256(blob.body) == part["digest"], f"{repository}: blob {part['digest']}: {blob.status}"


class Layout(Client):
    name = "layout"
    needs = ("skopeo", "docker-registry")

    def __init__(self, kit: Kit) -> None:
        super().__init__(kit)
        self.images = kit.layout("layout")
        self.many = self.images.platforms()
        self.single = self.images.image(layers=2)
        self.artifact = self.images.artifact("application/vnd.interop.note", self.single)
        self.policy = self.folder / "policy.json"
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self.turns = 0

    def version(self) -> str:
        return version_in(self.shell.run(self.kit.programs.path("docker-registry"), "--version"))

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("ours, then docker-registry: all there, pulled, added to", self.ours_first),
            ("... then db rebuild and ours again: what it added and deleted is seen", self.ours_again),
            ("docker-registry, then ours: all there, pulled, added to", self.old_first),
            ("... then docker-registry again", self.old_again),
            ("an old folder with dirt in it", self.dirt),
        ]

    @contextmanager
    def served(self, by: str, data: Path) -> Iterator[Registry]:
        self.turns += 1
        registry = self.kit.registry(f"layout-{self.turns}-{by}", program=by, data=data)
        registry.start()
        try:
            yield registry
        finally:
            registry.stop()

    def skopeo(self, *words: str) -> str:
        return self.shell.run(self.program, "--policy", self.policy, *words)

    def push(self, registry: Registry, descriptor: Descriptor, *targets: str) -> None:
        source = self.images.name(descriptor, f"t{descriptor['digest'][7:19]}")
        for target in targets:
            self.skopeo("copy", "--all", "--dest-tls-verify=false", f"oci:{source}", f"docker://{registry.address}/{target}")

    def pull(self, registry: Registry, name: str) -> None:
        self.turns += 1
        self.skopeo(
            "copy", "--all", "--src-tls-verify=false", f"docker://{registry.address}/{name}", f"dir:{self.folder}/pull-{self.turns}"
        )

    def fill(self, registry: Registry) -> None:
        """Nested names, several tags on one manifest, moved and deleted tags, lists of both families, an artifact with a subject."""
        self.push(registry, self.single, "interop/app:1", "interop/app:same", "interop/app:moved", "top:1", "interop/app/below/it:1")
        self.push(registry, self.many, "interop/many:1", "interop/app:moved", "interop/app:index")
        self.skopeo(
            *("copy", "--all", "--format", "v2s2", "--dest-tls-verify=false"),
            f"oci:{self.images.folder}:t{self.many['digest'][7:19]}",
            f"docker://{registry.address}/interop/v2s2:1",
        )
        registry.api.push(self.images.folder, self.artifact, "interop/app", "artifact")
        gone = self.images.image()
        self.push(registry, gone, "interop/app:gone", "interop/only-deleted:1")
        for repository in ("interop/app", "interop/only-deleted"):
            registry.api.delete(repository, gone["digest"])

    def checked(self, registry: Registry, expected: Contents | None = None) -> Contents:
        """What a server shows, with the tags and digests that `fill` left behind or equal to what was seen before."""
        found = contents(registry.api)
        if expected:
            expected.same_as(found)
        tags = set(found.tags["interop/app"])
        assert {"1", "same", "moved", "index", "artifact"} <= tags and "gone" not in tags, tags
        assert found.manifests["interop/app:1"] == found.manifests["top:1"] == (MANIFEST, self.single["digest"])
        assert found.manifests["interop/app:moved"][1] == self.many["digest"]
        self.pull(registry, "interop/v2s2:1")
        self.pull(registry, "interop/app/below/it:1")
        return found

    def more(self, registry: Registry, tag: str) -> None:
        """A new image, a tag that moves, a tag that goes with its manifest."""
        new = self.images.image()
        self.push(registry, new, f"interop/app:{tag}", f"interop/new-{tag}:1", "interop/many:moving", "interop/doomed:1")
        registry.api.delete("interop/doomed", new["digest"])

    def rebuild(self, data: Path) -> None:
        """The command for a folder that somebody else has changed meanwhile."""
        said = self.shell.run(OURS[0], "db", "rebuild", "--yes", "--root", data)
        assert "repositories" in said, said

    def ours_first(self) -> None:
        data = self.folder / "ours-first"
        with self.served("cargohold", data) as registry:
            self.fill(registry)
            self.seen = self.checked(registry)
        self.collect(data)
        with self.served("docker-registry", data) as registry:
            self.checked(registry, self.seen)
            self.more(registry, "old")
            self.seen = contents(registry.api)

    def collect(self, data: Path) -> None:
        """docker-registry's own garbage collection finds nothing in our folder that it would miss, and takes nothing that is in use."""
        config = self.kit.registry("layout-collect", program="docker-registry", data=data).configure()
        self.shell.run(self.kit.programs.path("docker-registry"), "garbage-collect", config)

    def ours_again(self) -> None:
        data = self.folder / "ours-first"
        self.rebuild(data)
        with self.served("cargohold", data) as registry:
            self.checked(registry, self.seen)
            self.more(registry, "newer")

    def old_first(self) -> None:
        data = self.folder / "old-first"
        with self.served("docker-registry", data) as registry:
            self.fill(registry)
            before = self.checked(registry)
        with self.served("cargohold", data) as registry:
            self.checked(registry, before)
            subject = registry.api.referrers("interop/app", self.single["digest"])
            assert [entry["digest"] for entry in subject] == [self.artifact["digest"]], subject
            self.more(registry, "ours")
            self.seen = contents(registry.api)

    def old_again(self) -> None:
        data = self.folder / "old-first"
        with self.served("docker-registry", data) as registry:
            self.checked(registry, self.seen)
            assert registry.api.tags("interop/doomed") == []

    def dirt(self) -> None:
        data = self.folder / "dirty"
        with self.served("docker-registry", data) as registry:
            self.fill(registry)
            before = self.checked(registry)
            for name in (HALF, "interop/app"):
                registry.api.half_upload(name, b"half of a layer")
        self.soil(data / TREE)
        with self.served("cargohold", data) as registry:
            after = self.checked(registry, before)
            assert HALF not in after.tags
            for reference in ("empty", "nowhere", "only-index", LOST):
                assert registry.api.gone("interop/app", reference), reference
            self.more(registry, "clean")

    def soil(self, tree: Path) -> None:
        """What crashes, other programs and old versions leave in a folder."""
        app = tree / "repositories" / "interop" / "app"
        tags, revisions = app / "_manifests" / "tags", app / "_manifests" / "revisions" / "sha256"
        for path, text in {
            tags / "empty" / "current" / "link": "",
            tags / "nowhere" / "current" / "link": f"sha256:{'1' * 64}",
            tags / "only-index" / "index" / "sha256" / self.single["digest"][7:] / "link": self.single["digest"],
            tags / "no tag at all!" / "current" / "link": self.single["digest"],
            revisions / LOST[7:] / "link": LOST,
            revisions / ("3" * 64) / "link": "",
            revisions / "not-a-digest" / "link": "sha256:xyz",
            app / "_layers" / "sha256" / LOST[7:] / "link": LOST,
            app / "_layers" / "sha256" / ("4" * 64) / "link": "\0\0\0",
            app / ".DS_Store": "Bud1",
            app / "_manifests" / ".nfs000000000001": "open somewhere",
            tags / "1" / ".nfs000000000002": "open somewhere",
            tree / "repositories" / "lost+found" / "#1": "found by fsck",
            tree / "repositories" / "Upper Case" / "_layers" / "x": "no repository",
            tree / "blobs" / "sha256" / "55" / ("5" * 64) / "datum": "not data",
        }.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tree / "blobs" / "sha256" / "66" / ("6" * 64)).mkdir(parents=True)
