"""Lists of names: the tags of a repository (OCI end-8), the repositories of the registry. Byte order, keyset pages."""

from __future__ import annotations

import asyncio

from cargohold.content.queries import repositories, tags
from cargohold.content.store import Store
from cargohold.errors import NameUnknown
from cargohold.names import RepoName


async def page(store: Store, repository: RepoName, after: str, count: int | None) -> tuple[list[str], bool]:
    """Tags after `after`, and whether there are more. `count` None: all of them, gathered in pages so that others get their turn."""
    id = await repositories.repository_id(store.db.now, repository)
    if id is None and await store.adopt(repository):
        id = await repositories.repository_id(store.db.now, repository)
    if id is None:
        raise NameUnknown(name=repository)
    if count is not None:
        found = await tags.tags_page(store.db.now, id, after, count + 1)
        return found[:count], len(found) > count
    size = store.limits.tags_page
    everything: list[str] = []
    while True:
        found = await tags.tags_page(store.db.now, id, after, size)
        everything += found
        if len(found) < size:
            return everything, False
        after = found[-1]
        await asyncio.sleep(0)


async def catalog(store: Store, after: str, count: int) -> tuple[list[str], bool]:
    """Repositories after `after` in the order of registry:2 (component by component), and whether there are more."""
    if store.adoption is not None:
        await store.adoption.names_known()
    found = await repositories.page(store.db.now, after, count + 1)
    return found[:count], len(found) > count
