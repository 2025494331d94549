"""helm: charts as OCI artifacts; versions with `+`, the newest one by the tag list, by digest, and over TLS."""

from __future__ import annotations

from collections.abc import Sequence

from interop.install import version_in
from interop.kit import Client, Scenario
from interop.servers import PASSWORD, USER

CHART = """apiVersion: v2
name: crate
version: {version}
description: A chart of one config map
"""
TEMPLATE = """apiVersion: v1
kind: ConfigMap
metadata: {name: crate}
data: {word: "{{ .Values.word }}"}
"""


class Helm(Client):
    name = "helm"
    needs = ("helm",)

    def version(self) -> str:
        return version_in(self.run("version", "--short"))

    def open(self) -> None:
        chart = self.folder / "crate"
        (chart / "templates").mkdir(parents=True)
        (chart / "values.yaml").write_text("word: hello\n")
        (chart / "templates" / "map.yaml").write_text(TEMPLATE)
        for version in ("1.0.0", "1.10.0", "1.9.0+build.7"):
            (chart / "Chart.yaml").write_text(CHART.format(version=version))
            self.run("package", str(chart), "-d", str(self.folder))
        self.repository = f"oci://{self.address}/helm/charts"

    def scenarios(self) -> Sequence[Scenario]:
        return [
            ("registry login: wrong password refused, right one kept", self.login),
            ("push three versions", self.push),
            ("show chart and values", self.show),
            ("pull the newest, a range, and one with +", self.pull),
            ("template straight from the registry", self.template),
            ("pull by digest", self.by_digest),
            ("TLS with --ca-file", self.tls),
        ]

    def settings(self) -> dict[str, str]:
        kinds = ("config", "cache", "data")
        return {f"HELM_{kind.upper()}_HOME": str(self.folder / kind) for kind in kinds} | {
            "HELM_REGISTRY_CONFIG": str(self.folder / "registry.json")
        }

    def run(self, *words: str) -> str:
        return self.shell.run(self.program, *words, environment=self.settings(), cwd=self.folder)

    def login(self) -> None:
        words = ("registry", "login", "--plain-http", "-u", USER, "--password-stdin", self.address)
        said = self.shell.refused(self.program, *words, environment=self.settings(), stdin="wrong")
        assert "401" in said or "unauthorized" in said, said
        self.shell.run(self.program, *words, environment=self.settings(), stdin=PASSWORD)

    def push(self) -> None:
        for version in ("1.0.0", "1.10.0", "1.9.0+build.7"):
            self.run("push", "--plain-http", f"crate-{version}.tgz", self.repository)
        assert self.api.tags("helm/charts/crate") == ["1.0.0", "1.10.0", "1.9.0_build.7"]
        config = self.api.manifest("helm/charts/crate", "1.0.0").json()["config"]
        assert config["mediaType"] == "application/vnd.cncf.helm.config.v1+json", config
        self.api.whole("helm/charts/crate", "1.0.0")

    def show(self) -> None:
        assert "name: crate" in self.run("show", "chart", "--plain-http", "--version", "1.0.0", f"{self.repository}/crate")
        assert "word: hello" in self.run("show", "values", "--plain-http", f"{self.repository}/crate")

    def pull(self) -> None:
        for wanted, version in {"": "1.10.0", "~1.9.0-0": "1.9.0+build.7", "<1.5": "1.0.0", "1.9.0+build.7": "1.9.0+build.7"}.items():
            target = self.folder / f"pulled-{len(wanted)}-{version}"
            target.mkdir()
            choice = ("--version", wanted) if wanted else ()
            self.run("pull", "--plain-http", *choice, "-d", str(target), f"{self.repository}/crate")
            found = [path.name for path in target.iterdir()]
            assert found == [f"crate-{version}.tgz"], (wanted, found)
            assert (target / found[0]).read_bytes() == (self.folder / found[0]).read_bytes()

    def template(self) -> None:
        said = self.run("template", "it", "--plain-http", "--version", "1.0.0", "--set", "word=changed", f"{self.repository}/crate")
        assert "changed" in said, said

    def by_digest(self) -> None:
        target = self.folder / "by-digest"
        target.mkdir()
        digest = self.api.digest("helm/charts/crate", "1.0.0")
        self.run("pull", "--plain-http", "-d", str(target), f"{self.repository}/crate@{digest}")
        assert len(list(target.iterdir())) == 1

    def tls(self) -> None:
        host = self.kit.secure_name
        trusted = ("--ca-file", str(self.kit.authority.certificate))
        words = ("registry", "login", *trusted, "-u", USER, "--password-stdin", host)
        self.shell.run(self.program, *words, environment=self.settings(), stdin=PASSWORD)
        said = self.shell.refused(
            self.program, "push", "crate-1.0.0.tgz", f"oci://{host}/helm", environment=self.settings(), cwd=self.folder
        )
        assert "certificate" in said, said
        self.run("push", *trusted, "crate-1.0.0.tgz", f"oci://{host}/helm")
        self.run("pull", *trusted, "--untar", "--untardir", "from-tls", f"oci://{host}/helm/crate")
        assert (self.folder / "from-tls" / "crate" / "Chart.yaml").is_file()
