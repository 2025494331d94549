"""An upload answers to who opened it, in the repository where it was opened, and to nobody else (CVE-2026-32589)."""

from __future__ import annotations

import httpx
import pytest

from cargohold.config.settings import Auth, Htpasswd, Settings
from cargohold.names import Digest
from cargohold.testing.image import blob
from cargohold.testing.server import registry
from tests.auth.calls import basic
from tests.auth.test_htpasswd import ANN, BOB
from tests.registry.conftest import As
from tests.registry.wire import created, error, finish, patch, start, upload_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIR = "pull,push"


async def refused_everywhere(client: httpx.AsyncClient, location: str, digest: str) -> None:
    for method in ("GET", "HEAD", "PATCH", "DELETE"):
        error(await client.request(method, location, content=b"alien"), 404, "BLOB_UPLOAD_UNKNOWN")
    error(await finish(client, location, digest, b"alien"), 404, "BLOB_UPLOAD_UNKNOWN")
    error(await finish(client, location, digest), 404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("size", [100, 400_000])
async def test_others_cannot_read_alter_finish_or_cancel_it(as_: As, repo: str, size: int) -> None:
    victim_repo, own_repo, item = f"{repo}/victim", f"{repo}/own", blob(size, repo)
    victim = as_("victim", f"repository:{victim_repo}:{PAIR}")
    location = await start(victim, victim_repo)
    await patch(victim, location, item.content[: size // 2], 0)
    other_path = location.replace(victim_repo, own_repo)
    for attacker in (
        as_("attacker", f"repository:{own_repo}:{PAIR},delete", f"repository:{victim_repo}:{PAIR},delete"),
        as_("", f"repository:{own_repo}:{PAIR},delete", f"repository:{victim_repo}:{PAIR},delete"),
    ):
        for path in (location, other_path):
            await refused_everywhere(attacker, path, item.digest)
    upload_headers(await victim.get(location), victim_repo, size // 2)
    await patch(victim, location, item.content[size // 2 :], size // 2)
    created(await finish(victim, location, item.digest), victim_repo, item.digest)


async def test_the_same_person_in_another_repository_does_not_find_it(as_: As, repo: str) -> None:
    one, two = f"{repo}/one", f"{repo}/two"
    person = as_("person", f"repository:{one}:{PAIR}", f"repository:{two}:{PAIR}")
    location = await start(person, one)
    await refused_everywhere(person, location.replace(one, two), Digest.of(b"alien"))
    upload_headers(await person.get(location), one, 0)


async def test_a_renewed_token_goes_on_with_the_upload(as_: As, repo: str) -> None:
    item = blob(300, repo)
    location = await start(as_("person", f"repository:{repo}:{PAIR}"), repo)
    await patch(as_("person", f"repository:{repo}:{PAIR}"), location, item.content)
    created(await finish(as_("person", f"repository:{repo}:{PAIR}"), location, item.digest), repo, item.digest)


async def test_without_the_right_to_push_any_more_it_is_refused(as_: As, repo: str) -> None:
    location = await start(as_("person", f"repository:{repo}:{PAIR}"), repo)
    answer = await as_("person", f"repository:{repo}:pull").get(location)
    error(answer, 401, "UNAUTHORIZED")


async def test_an_unknown_upload_and_that_of_another_look_the_same(as_: As, repo: str) -> None:
    location = await start(as_("victim", f"repository:{repo}:{PAIR}"), repo)
    attacker = as_("attacker", f"repository:{repo}:{PAIR}")
    unknown = location[:-12] + "0" * 12
    hidden, absent = await attacker.get(location), await attacker.get(unknown)
    assert hidden.content.replace(location[-36:].encode(), unknown[-36:].encode()) == absent.content
    assert hidden.status_code == absent.status_code == 404


async def test_people_of_an_htpasswd_are_told_apart(settings: Settings, repo: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("people")
    (folder / "htpasswd").write_text(f"{ANN}\n{BOB}\n")
    guarded = Settings(
        storage=settings.storage, database=settings.database, auth=Auth(kind="htpasswd", htpasswd=Htpasswd(path=str(folder / "htpasswd")))
    )
    async with registry(guarded, keeper=False) as running:
        ann = running.client_from(authorization=basic("ann", "secret"))
        bob = running.client_from(authorization=basic("bob", "wörter:mit doppelpunkt"))
        location = await start(ann, repo)
        await refused_everywhere(bob, location, Digest.of(b"alien"))
        error(await running.client.get(location), 401, "UNAUTHORIZED")
        created(await finish(ann, location, Digest.of(b"mine"), b"mine"), repo, Digest.of(b"mine"))
