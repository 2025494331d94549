"""`cargohold registry`: serve the plain face, check what is stored.

Flags win over the environment, the environment over CONFIG.yml. Without CONFIG.yml, REGISTRY_CONFIGURATION_PATH may name one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cargohold.cli.refusal import explained, start_explained

if TYPE_CHECKING:
    from cargohold.config.load import Loaded

CONFIG = click.argument("config", metavar="[CONFIG.yml]", required=False, type=click.Path(path_type=Path, dir_okay=False))
_SERVE_FLAGS = [
    ("--addr", "HOST:PORT", "Listen there. Default: 127.0.0.1:5000."),
    ("--root", "FOLDER", "Keep all data in this folder. Default: data."),
    ("--tls-cert", "FILE", "PEM file with the certificate chain: serve TLS."),
    ("--tls-key", "FILE", "PEM file with the key of the certificate."),
    ("--htpasswd", "FILE", "Ask for a name and password of this file (bcrypt lines)."),
    ("--htpasswd-realm", "TEXT", "Realm that clients show when they ask for a password."),
    ("--workers", "N", "Worker processes. Default: one per core."),
    ("--admin-addr", "HOST:PORT", "Serve /metrics, /healthz and /readyz there, without authentication."),
    ("--log-level", "LEVEL", "error, warn, info or debug. Default: info."),
]


def settings_flags(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The flags of that name (all when none is given), each handed over as its text."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for flag, metavar, text in reversed(_SERVE_FLAGS):
            if not names or flag in names:
                command = click.option(flag, metavar=metavar, help=text)(command)
        return command

    return add


def given(flags: dict[str, Any]) -> dict[str, str]:
    """click's keyword arguments back as flag -> text, without those that were not given."""
    return {f"--{name.replace('_', '-')}": text for name, text in flags.items() if text is not None}


@click.group()
def registry() -> None:
    """Serve and check a plain registry: what registry:2 is, with the same CONFIG.yml and REGISTRY_* variables."""


def load_settings(config: Path | None, flags: dict[str, Any]) -> Loaded:
    """The settings a command runs with; ends it when they cannot be used."""
    from cargohold.config.load import load

    with explained():
        return load(config, os.environ, given(flags))


@registry.command()
@CONFIG
@settings_flags()
def serve(config: Path | None, **flags: str | None) -> None:
    """Serve until SIGTERM. Without CONFIG.yml: open, on 127.0.0.1:5000, data in ./data."""
    loaded = load_settings(config, flags)
    from cargohold.app import serve as run

    with start_explained():
        sys.exit(run(loaded))


@registry.command()
@CONFIG
@settings_flags("--root")
@click.option("--repair", is_flag=True, help="Mend links; mark broken bytes, so that they count as missing until they are pushed again.")
@click.option("--quick", is_flag=True, help="Compare sizes only, without reading every blob.")
def fsck(config: Path | None, repair: bool, quick: bool, **flags: str | None) -> None:
    """Read everything that is stored and say what is broken. Exit code 1 when something is."""
    loaded = load_settings(config, flags)
    from cargohold.app import fsck as run

    with start_explained():
        sys.exit(run(loaded, repair=repair, quick=quick))
