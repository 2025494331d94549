"""The registry in this process and as a process of its own, and every style of push against it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cargohold.testing.image import cache_index, foreign, image, multi_arch
from cargohold.testing.push import Refused, Style, apull, apush, pull, push
from cargohold.testing.server import registry, serve_process


@pytest.mark.parametrize("style", get_args(Style))
async def test_what_is_pushed_in_any_style_is_pulled(style: Style) -> None:
    async with registry() as running:
        for made in (image(), multi_arch(), cache_index(), foreign(), image(algorithm="sha512")):
            digest = await apush(running.client, "team/app", made, "1.0", style=style)
            copy = await apull(running.client, "team/app", digest)
            assert (copy.body, copy.media_type) == (made.body, made.media_type)


async def test_two_registries_know_nothing_of_each_other() -> None:
    async with registry() as one, registry() as other:
        await apush(one.client, "team/app", image(), "1.0")
        with pytest.raises(Refused):
            await apull(other.client, "team/app", "1.0")


async def test_a_folder_outlives_its_registry(tmp_path: Path) -> None:
    async with registry(folder=tmp_path) as first:
        assert first.settings.storage.rootdirectory == str(tmp_path)
    assert (tmp_path / "_cargohold" / "cargohold.db").exists()


def test_the_program_serves_and_leaves(tmp_path: Path) -> None:
    with serve_process(tmp_path, "--workers", "1") as served, served.client() as client:
        push(client, "team/app", image(), "1.0", style="docker")
        assert pull(client, "team/app", "1.0").digest == image().digest
    assert served.process.returncode == 0
    with serve_process(tmp_path, "--workers", "1") as again, again.client() as client:
        assert pull(client, "team/app", "1.0").digest == image().digest
        again.kill()


def test_a_program_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="htpasswd"), serve_process(tmp_path, "--htpasswd", str(tmp_path / "missing")):
        pass
