"""A bucket that registry:2 filled is served by us as it is, by both workers from the first request on."""

from __future__ import annotations

import httpx
import pytest

from cargohold.names import RepoName, Tag
from cargohold.storage import keys
from cargohold.testing.image import Image, image, multi_arch
from cargohold.testing.push import pull, push
from tests.backends.conftest import MakeStage
from tests.backends.stage import Stage, until


def lay_out(stage: Stage, repository: str, made: Image, *tags: str) -> None:
    """The keys that registry:2 writes for a push."""
    name = RepoName(repository)
    for part in made.everything():
        for blob in part.blobs:
            stage.put(keys.blob(blob.digest), blob.content)
            stage.put(keys.layer(name, blob.digest), blob.digest.encode())
        stage.put(keys.blob(part.digest), part.body)
        stage.put(keys.revision(name, part.digest), part.digest.encode())
    for tag in tags:
        stage.put(keys.tag_history(name, Tag(tag), made.digest), made.digest.encode())
        stage.put(keys.tag_current(name, Tag(tag)), made.digest.encode())


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_bucket_of_registry_2_is_adopted(new_stage: MakeStage) -> None:
    stage = new_stage()
    names = ("team/app", "team/app/deep", "other")
    for number, name in enumerate(names):
        lay_out(stage, name, multi_arch(seed=number), "1.0", "latest")
    upload = f"{keys.repository(RepoName('other'))}_uploads/0f9c/"
    stage.put(upload + "data", b"half an upload")
    stage.put(upload + "startedat", b"2024-01-01T00:00:00Z")
    with stage.program, stage.on_both_workers() as (one, other):
        for number, name in enumerate(names):
            for client, tag in ((one, "1.0"), (other, "latest")):
                assert pull(client, name, tag).digest == multi_arch(seed=number).digest
        assert other.get("/v2/_catalog").json() == {"repositories": ["other", "team/app", "team/app/deep"]}
        assert one.get("/v2/team/app/tags/list").json()["tags"] == ["1.0", "latest"]
        both_go_on(one, other)
        until(lambda: stage.unready() == [], "not ready")
    assert set(stage.keys(upload)) == {upload + "data", upload + "startedat"}, "what is registry:2's own stays"


def both_go_on(one: httpx.Client, other: httpx.Client) -> None:
    """New images beside the old; a deleted old tag does not come back."""
    push(one, "team/app", image(seed="new"), "2.0")
    assert other.delete("/v2/team/app/manifests/1.0").status_code == 202
    assert one.get("/v2/team/app/tags/list").json()["tags"] == ["2.0", "latest"]
    assert one.get("/v2/team/app/manifests/1.0").status_code == 404
