"""end-4, end-5, end-6, end-11, end-13: uploads - start, mount, append, finish, status, cancel.

`Location` names the session and nothing else: a client may use any of those it was given, old or new. `Range` is
`0-<last>`, without a unit; `0-0` also stands for "nothing yet", as docker expects.
"""

from __future__ import annotations

from cargohold.content import blobs, sessions, uploads
from cargohold.content.gates import admit_more
from cargohold.content.queries.uploads import Session
from cargohold.errors import DigestInvalid, SizeInvalid, UploadRangeInvalid
from cargohold.http.call import Call
from cargohold.http.replies import Headers, Reply
from cargohold.names import ByteRange, Digest, Malformed, RepoName, UploadId
from cargohold.registry.plane import Plane, actor, digest_of, query, upload_of


async def start(plane: Plane, call: Call, name: RepoName) -> Reply:
    """POST: a mount, a whole blob (`digest` with a body), or a new session. Extra keys (`origin`, `ns`) mean nothing here."""
    asked = query(call)
    if "mount" in asked:
        digest, source = _digest_or_none(asked["mount"]), _repository_or_none(asked.get("from"))
        usable = digest is not None and ("from" not in asked or source is not None)
        if usable and digest and await blobs.mount(plane.store, actor(call), name, digest, source, call.id):
            return _created(plane, call, name, digest)
    elif "digest" in asked:
        digest = digest_of(asked["digest"])
        if _has_body(call) or digest == Digest.of(b"", digest.algorithm):
            await sessions.admit(plane.store, actor(call), name)
            await uploads.whole(plane.store, actor(call), name, digest, uploads.body_of(call), call.id)
            return _created(plane, call, name, digest)
    upload = await sessions.start(plane.store, actor(call), name)
    return Reply(202, _where(plane, call, name, upload, 0))


async def append(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    """PATCH. A Content-Range that does not start where the session stands writes nothing: 416 with the true Range."""
    session = await sessions.find_open(plane.store, actor(call), name, upload_of(ref))
    await admit_more(plane.store.gates, actor(call), name)
    try:
        _check_range(call, session)
        session = await uploads.append(plane.store, session, uploads.body_of(call))
    except UploadRangeInvalid as error:
        raise _located(plane, call, name, session.id, error) from None
    return Reply(202, _where(plane, call, name, session.id, session.size))


async def finish(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    """PUT with `digest`: the last bytes, the whole blob, or nothing but the word that all is there."""
    upload = upload_of(ref)
    session = await sessions.find(plane.store, actor(call), name, upload)
    await admit_more(plane.store.gates, actor(call), name)
    asked = query(call)
    if "digest" not in asked:
        raise DigestInvalid("the query has no digest", field="digest")
    digest = digest_of(asked["digest"])
    try:
        if _has_body(call) and session.digest is None:
            _check_range(call, session)
            if session.size == 0:
                await uploads.whole(plane.store, actor(call), name, digest, uploads.body_of(call), call.id, session)
                return _created(plane, call, name, digest)
            session = await uploads.append(plane.store, session, uploads.body_of(call))
        await uploads.finish(plane.store, actor(call), session, digest, call.id)
    except UploadRangeInvalid as error:
        raise _located(plane, call, name, upload, error) from None
    return _created(plane, call, name, digest)


async def status(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    session = await sessions.find_open(plane.store, actor(call), name, upload_of(ref))
    return Reply(204, _where(plane, call, name, session.id, session.size))


async def cancel(plane: Plane, call: Call, name: RepoName, ref: str) -> Reply:
    upload = upload_of(ref)
    await sessions.cancel(plane.store, actor(call), name, upload)
    return Reply(204, [(b"Docker-Upload-UUID", upload.encode())])


def _created(plane: Plane, call: Call, name: RepoName, digest: Digest) -> Reply:
    location = plane.location(call, f"/v2/{name}/blobs/{digest}")
    return Reply(201, [(b"Location", location), (b"Docker-Content-Digest", digest.encode())])


def _where(plane: Plane, call: Call, name: RepoName, upload: UploadId, size: int) -> Headers:
    return [
        (b"Location", plane.location(call, f"/v2/{name}/blobs/uploads/{upload}")),
        (b"Range", b"0-%d" % max(size - 1, 0)),
        (b"Docker-Upload-UUID", upload.encode()),
    ]


def _located(plane: Plane, call: Call, name: RepoName, upload: UploadId, error: UploadRangeInvalid) -> UploadRangeInvalid:
    location = plane.location(call, f"/v2/{name}/blobs/uploads/{upload}").decode()
    return UploadRangeInvalid(offset=error.offset, location=location, upload=upload)


def _check_range(call: Call, session: Session) -> None:
    header = call.header(b"content-range")
    if header is None:
        return
    try:
        asked = ByteRange.parse(header)
    except Malformed:
        raise UploadRangeInvalid(offset=session.size) from None
    if asked.first != session.size:
        raise UploadRangeInvalid(offset=session.size)
    if call.body is not None and call.body.length is not None and call.body.length != asked.length:
        raise SizeInvalid(f"Content-Range tells of {asked.length} bytes, Content-Length of {call.body.length}", field="Content-Range")


def _has_body(call: Call) -> bool:
    return call.body is not None and call.body.length != 0


def _digest_or_none(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except Malformed:
        return None


def _repository_or_none(text: str | None) -> RepoName | None:
    try:
        return RepoName.parse(text) if text else None
    except Malformed:
        return None
