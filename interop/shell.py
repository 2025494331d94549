"""Commands as a person would type them, in an environment of the run's own.

Every command and what it printed goes into `commands.log` of the client's folder. HOME and the credential files lie in that
folder too, so no client reads or writes those of the user, or those of another client.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

TIMEOUT = 180.0
KEPT = ("LANG", "TERM", "SYSTEMROOT")


class CommandFailed(Exception):
    """A command ended with the wrong code: what was typed, the code, and the end of what it printed."""

    def __init__(self, argv: tuple[str, ...], code: int | str, output: str) -> None:
        self.output = output
        super().__init__(f"$ {shlex.join(argv)}\nexit code {code}\n{output[-2500:]}")


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "commands.log"
        home = folder / "home"
        for path in (home, folder / "tmp"):
            path.mkdir(parents=True, exist_ok=True)
        self.environment = {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(home),
            "TMPDIR": str(folder / "tmp"),
            "XDG_RUNTIME_DIR": str(folder / "tmp"),
            "DOCKER_CONFIG": str(home / "docker"),
        }

    def own_logins(self) -> None:
        """For podman and its family, whose logins would lie in /run for root. Not for all: registries read REGISTRY_* themselves."""
        self.environment["REGISTRY_AUTH_FILE"] = str(self.folder / "home" / "auth.json")

    def run(
        self,
        *argv: str | Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        timeout: float = TIMEOUT,
    ) -> str:
        """Standard output and error together; anything but exit code 0 raises `CommandFailed`."""
        words = tuple(map(str, argv))
        code, output = self._finish(words, environment, cwd, stdin, timeout)
        if code != 0:
            raise CommandFailed(words, code, output)
        return output

    def refused(self, *argv: str | Path, environment: Mapping[str, str] | None = None, stdin: str = "", cwd: Path | None = None) -> str:
        """A command that must fail; returns what it printed."""
        words = tuple(map(str, argv))
        code, output = self._finish(words, environment, cwd, stdin, TIMEOUT)
        if code == 0:
            raise CommandFailed(words, "0, but it had to fail", output)
        return output

    def _finish(
        self, words: tuple[str, ...], environment: Mapping[str, str] | None, cwd: Path | None, stdin: str, timeout: float
    ) -> tuple[int | str, str]:
        settings = self.environment | dict(environment or {})
        try:
            done = subprocess.run(
                words,
                env=settings,
                cwd=cwd or self.folder,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            printed = late.stdout or b""
            text = printed if isinstance(printed, str) else printed.decode(errors="replace")
            raise CommandFailed(words, f"none: still running after {timeout:.0f} s", text) from None
        with self.log.open("a") as log:
            log.write(f"$ {shlex.join(words)}\n{done.stdout}[{done.returncode}]\n")
        return done.returncode, done.stdout
