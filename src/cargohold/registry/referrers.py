"""end-12: `GET /v2/<name>/referrers/<digest>?artifactType=`. Always an index, also when nothing refers to the digest."""

from __future__ import annotations

from cargohold.content import referrers
from cargohold.content.formats import OCI_INDEX
from cargohold.http.call import Call
from cargohold.http.replies import Headers, Reply
from cargohold.names import RepoName
from cargohold.registry.catalog import link
from cargohold.registry.plane import Plane, digest_of, query


async def list_referrers(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    """The Content-Type carries no charset: oras compares the whole text. `last` is ours: the mark of the page before."""
    subject = digest_of(ref)
    asked = query(call)
    artifact_type = asked.get("artifactType", "").replace("\0", "\ufffd") or None  # a type with a NUL is no manifest's
    last = asked.get("last", "")
    after = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0
    found, mark = await referrers.page(plane.store, name, subject, artifact_type, after)
    headers: Headers = [(b"Content-Type", OCI_INDEX.encode())]
    keys = {"last": str(mark)}
    if artifact_type:
        headers.append((b"OCI-Filters-Applied", b"artifactType"))
        keys["artifactType"] = artifact_type
    if mark is not None:
        headers.append(link(plane, call, f"/v2/{name}/referrers/{subject}", keys))
    return Reply(200, headers, referrers.index(found))
