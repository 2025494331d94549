"""SQL of repositories: which there are, and their ids."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, select

from cargohold.db.query import Query, insert
from cargohold.db.tables import repositories
from cargohold.db.work import Reader, Work
from cargohold.names import RepoName

_ID: Query[int] = Query(select(repositories.c.id).where(repositories.c.name == bindparam("name")))
_NEW: Query[int] = Query(
    insert(repositories)
    .values(name=bindparam("name"), path_key=bindparam("path_key"), created_at=bindparam("now"))
    .on_conflict_do_nothing(index_elements=["name"])
)
_PAGE: Query[str] = Query(
    select(repositories.c.name)
    .where(repositories.c.path_key > bindparam("after"))
    .order_by(repositories.c.path_key)
    .limit(bindparam("count"))
)


def path_key(name: str) -> str:
    """Sorts like the catalog of registry:2, component by component: `!` comes before every character of a name."""
    return name.replace("/", "!")


async def repository_id(r: Reader, name: RepoName) -> int | None:
    return await r.one(_ID, name=name)


async def ensure_repository(work: Work, name: RepoName, now: datetime) -> int:
    """The repository's id; it comes into being with the first thing that is stored in it."""
    found = await work.one(_ID, name=name)
    if found is None:
        await work.run(_NEW, name=name, path_key=path_key(name), now=now)
        found = await work.one(_ID, name=name)
    assert found is not None
    return found


async def page(r: Reader, after: str, count: int) -> list[str]:
    """At most `count` names after the name `after`, in the order of the catalog."""
    return await r.all(_PAGE, after=path_key(after), count=count)
