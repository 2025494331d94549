"""Names and passwords from an htpasswd file; bcrypt lines (`$2a$`, `$2b$`, `$2y$`) only.

    header --decode--> name, password --known good--> actor           no bcrypt, no suspension
                                     |--known bad---> 401
                                     `--new---------> one bcrypt in a thread --> remembered either way

Invariants
- No request pays a bcrypt for what was checked before: both memories are keyed by a keyed hash of name, password and stored hash,
  so a changed or removed line makes every remembered answer for it unreachable. The keys live in this process alone.
- The same login arriving many times at once is one bcrypt. An unknown name costs one as well, at the cost most lines have.
- At most `QUEUE` checks wait, at most `QUEUE_OF_CLIENT` of them for one address: more answer 429, remembered logins go on.
- A line that cannot be used is named by its number; no hash and no password is ever logged.

The file must be there at the start (registry:2 would make one with a random password; here that is a refusal that names the file).
Callers: auth/authenticator.py.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from cargohold.auth import challenge
from cargohold.auth.identity import ANONYMOUS, Actor, Kind
from cargohold.auth.permissions import Want
from cargohold.auth.recent import Recent
from cargohold.auth.watched import WatchedFile, unusable
from cargohold.config.settings import Htpasswd as Settings
from cargohold.errors import CargoholdError, Denied, TooManyRequests, Unauthorized
from cargohold.http.call import Call
from cargohold.telemetry import log

QUEUE = 64
QUEUE_OF_CLIENT = 16
THREADS = 2
REMEMBERED = 4096
_LIMIT = 72
"""bcrypt's own: Apache and Go ignore the bytes behind it, and so do we."""
_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{53}")
_NOBODY = b"$2b$%s$" + b"." * 53
"""A hash that is nobody's; only its cost matters."""
_USUAL_COST = b"10"


def parse(content: bytes) -> tuple[dict[bytes, bytes], list[tuple[int, str]]]:
    """Name -> bcrypt hash (the last line of a name wins), and number and cause of every line that cannot be used."""
    users: dict[bytes, bytes] = {}
    unused: list[tuple[int, str]] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith(b"#"):
            continue
        name, colon, stored = line.partition(b":")
        if not colon or not name:
            unused.append((number, "no name and colon before the hash"))
        elif not _HASH.fullmatch(stored):
            unused.append((number, "not a bcrypt hash; make one with htpasswd -B"))
            users.pop(name, None)
        else:
            users[name] = stored
    return users, unused


def credentials(header: str) -> tuple[bytes, bytes] | None:
    """Name and password of a Basic `Authorization`, as bytes; None when it is something else."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, password = decoded.partition(b":")
    return (name, password) if colon and name else None


class HtpasswdAuthenticator:
    def __init__(self, settings: Settings) -> None:
        """Raises `ConfigInvalid` when there is no file or it cannot be read."""
        if not settings.path:
            raise unusable("auth.htpasswd.path", "names no file")
        self._challenge = challenge.basic(settings.realm)
        self._file = WatchedFile(settings.path, "auth.htpasswd.path")
        self._warned: list[tuple[int, str]] = []
        self._users: dict[bytes, bytes] = {}
        self._nobody = b""
        self._secret = secrets.token_bytes(32)
        self._good: Recent[bytes, Actor] = Recent(REMEMBERED)
        self._bad: Recent[bytes, bool] = Recent(REMEMBERED)
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._clients: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="bcrypt")
        self._take(self._file.first())

    async def actor(self, call: Call, wanted: Sequence[Want] = ()) -> Actor:
        header = call.header(b"authorization")
        if header is None:
            return ANONYMOUS
        pair = credentials(header)
        if pair is None:
            raise Unauthorized(self._challenge, "Authorization is not Basic with a name and a password")
        if (content := self._file.changed()) is not None:
            self._take(content)
        name, password = pair
        stored = self._users.get(name)
        key = self._key(name, password, stored or self._nobody)
        if (known := self._good.get(key)) is not None:
            return known
        if not self._bad.get(key) and await self._check(call.client, key, name, password) and stored:
            return self._good.get(key) or _user(name)
        raise Unauthorized(self._challenge, "the name or the password is wrong")

    def refuse(self, actor: Actor, wanted: Sequence[Want] = ()) -> CargoholdError:
        scope = challenge.scope(wanted)
        if actor.kind is Kind.ANONYMOUS:
            return Unauthorized(self._challenge, **({"wanted": scope} if scope else {}))
        return Denied(wanted=scope)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _take(self, content: bytes) -> None:
        self._users, unused = parse(content)
        costs = Counter(stored[4:6] for stored in self._users.values())
        self._nobody = _NOBODY % (costs.most_common(1)[0][0] if costs else _USUAL_COST)
        if unused != self._warned:
            for number, cause in unused:
                log.warning("htpasswd line is not used", path=str(self._file.path), line=number, cause=cause)
        self._warned = unused
        if not self._users:
            log.warning("htpasswd has no line that can be used: nobody can log in", path=str(self._file.path))

    def _key(self, name: bytes, password: bytes, stored: bytes) -> bytes:
        """Length before content, so that no two triples are written alike."""
        text = b"%d:%d:%s%s%s" % (len(name), len(password), name, password, stored)
        return hashlib.blake2b(text, key=self._secret, digest_size=32).digest()

    async def _check(self, client: str, key: bytes, name: bytes, password: bytes) -> bool:
        """One bcrypt for all callers that ask the same at the same time; it goes on when one of them leaves.

        The answer is the check's own, not what `_good` holds: who comes between the end of the check and `_done` does not wait for it.
        """
        running = self._running.get(key)
        if running is None:
            if len(self._running) >= QUEUE or self._clients[client] >= QUEUE_OF_CLIENT:
                raise TooManyRequests("too many logins are being checked; try again")
            stored = self._users.get(name)
            actor = _user(name) if stored else None
            running = asyncio.get_running_loop().run_in_executor(self._threads, matches, password, stored or self._nobody)
            self._running[key] = running
            self._clients[client] += 1
            running.add_done_callback(lambda done: self._done(client, key, actor, done))
        return await asyncio.shield(running)

    def _done(self, client: str, key: bytes, actor: Actor | None, check: asyncio.Future[bool]) -> None:
        """Runs before those that wait go on, so that nobody checks again what was just checked."""
        del self._running[key]
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
        if check.cancelled() or check.exception():
            return
        if check.result() and actor is not None:
            self._good.keep(key, actor)
        else:
            self._bad.keep(key, True)


def _user(name: bytes) -> Actor:
    return Actor(kind=Kind.USER, name=name.decode(errors="backslashreplace"), everything=True)


def matches(password: bytes, stored: bytes) -> bool:
    """One bcrypt, 66 ms at cost 10; runs in a thread, without the interpreter's lock."""
    return bcrypt.checkpw(password[:_LIMIT], stored)
