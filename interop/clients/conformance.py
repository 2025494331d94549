"""The conformance suite of the OCI Distribution specification, against a server with passwords, with every delete allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from interop.install import MODULES, version_in
from interop.kit import Client, Scenario
from interop.servers import PASSWORD, USER


class Conformance(Client):
    name = "conformance"
    needs = ("conformance",)

    def version(self) -> str:
        return version_in(MODULES["conformance"].rpartition("@")[2])

    def scenarios(self) -> Sequence[Scenario]:
        return [("distribution-spec 1.1, every group", self.suite)]

    def suite(self) -> None:
        said = self.shell.run(
            self.program,
            environment={
                "OCI_REGISTRY": self.address,
                "OCI_TLS": "disabled",
                "OCI_REPO1": "conformance/one",
                "OCI_REPO2": "conformance/two",
                "OCI_USERNAME": USER,
                "OCI_PASSWORD": PASSWORD,
                "OCI_VERSION": "1.1",
                "OCI_RESULTS_DIR": str(self.folder / "results"),
            },
        )
        counts = {word: int(number) for word, number in re.findall(r"^  (\w+)\.\.+: +(\d+)$", said, re.MULTILINE)}
        assert "OCI Conformance Result: Pass" in said, said
        assert counts["Pass"] > 800 and counts["FAIL"] == counts["Error"] == 0, said
