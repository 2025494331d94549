"""The error tree: every refusal is a class, 500 is only ever a bug.

    CargoholdError 500 UNKNOWN
    |-- BadRequest 400
    |   |-- DigestInvalid          DIGEST_INVALID
    |   |-- NameInvalid            NAME_INVALID
    |   |-- TagInvalid             TAG_INVALID
    |   |-- SizeInvalid            SIZE_INVALID
    |   |-- PageSizeInvalid        PAGINATION_NUMBER_INVALID
    |   |-- ManifestInvalid        MANIFEST_INVALID
    |   `-- ReferencesUnknown      MANIFEST_BLOB_UNKNOWN, one entry for each missing digest
    |-- Unauthorized 401           UNAUTHORIZED, carries the challenge
    |-- Denied 403                 DENIED
    |-- NotFound 404
    |   |-- NameUnknown            NAME_UNKNOWN
    |   |-- BlobUnknown            BLOB_UNKNOWN
    |   |-- ManifestUnknown        MANIFEST_UNKNOWN
    |   `-- UploadUnknown          BLOB_UPLOAD_UNKNOWN
    |-- Unsupported 405            UNSUPPORTED
    |-- Conflict 409               DENIED
    |-- PreconditionFailed 412     DENIED
    |-- ManifestTooLarge 413       SIZE_INVALID
    |-- UploadRangeInvalid 416     BLOB_UPLOAD_INVALID, carries the true offset
    |-- BlobRangeInvalid 416       UNSUPPORTED
    |-- TooManyRequests 429        TOOMANYREQUESTS
    |-- Corrupt 500                BLOB_UNKNOWN, stored bytes are not what their digest says
    |-- Unavailable 503            UNAVAILABLE
    |   |-- TooSlow                a statement ran over its deadline
    |   `-- DatabaseAway           its text is for the operator; clients are told the docstring
    `-- StorageFull 507            DENIED

The class carries the status and the code of the OCI table; its docstring is the default message; `facts` become `detail`.
Rendering happens once per plane (registry/render.py for OCI). Docs: docs/reference/errors.md is generated from this file.
"""

from __future__ import annotations

from typing import ClassVar


class CargoholdError(Exception):
    """Something went wrong on our side; the request id finds it in the log."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "UNKNOWN"

    def __init__(self, message: str | None = None, /, **facts: object) -> None:
        super().__init__(message or " ".join((type(self).__doc__ or "").split()))
        self.facts = facts

    @property
    def told(self) -> str:
        """What a client is told; `str()` is for the log and the operator."""
        return str(self)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Headers that the answer must carry because of this error."""
        return []


class BadRequest(CargoholdError):
    """The request cannot be understood."""

    status = 400
    code = "UNSUPPORTED"


class DigestInvalid(BadRequest):
    """The digest is missing, malformed, or is not the digest of the bytes that came."""

    code = "DIGEST_INVALID"


class NameInvalid(BadRequest):
    """The repository name breaks the naming rules."""

    code = "NAME_INVALID"


class TagInvalid(BadRequest):
    """The tag breaks the naming rules."""

    code = "TAG_INVALID"


class SizeInvalid(BadRequest):
    """The length that was announced is not the length that came."""

    code = "SIZE_INVALID"


class PageSizeInvalid(BadRequest):
    """n is a whole number from 0 up to the cap of this registry."""

    code = "PAGINATION_NUMBER_INVALID"


class ManifestInvalid(BadRequest):
    """The manifest breaks the rules of its media type."""

    code = "MANIFEST_INVALID"


class ReferencesUnknown(BadRequest):
    """The manifest names content that this repository does not hold; push it first."""

    code = "MANIFEST_BLOB_UNKNOWN"

    def __init__(self, missing: list[str]) -> None:
        super().__init__(missing=missing)
        self.missing = missing


class Unauthorized(CargoholdError):
    """Log in first: this needs credentials that are valid here."""

    status = 401
    code = "UNAUTHORIZED"

    def __init__(self, challenge: str, message: str | None = None, /, **facts: object) -> None:
        super().__init__(message, **facts)
        self.challenge = challenge

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("WWW-Authenticate", self.challenge)]


class Denied(CargoholdError):
    """These credentials do not give the right to do this."""

    status = 403
    code = "DENIED"


class NotFound(CargoholdError):
    """There is nothing here."""

    status = 404
    code = "NAME_UNKNOWN"


class NameUnknown(NotFound):
    """This registry has no such repository."""

    code = "NAME_UNKNOWN"


class BlobUnknown(NotFound):
    """This repository has no such blob."""

    code = "BLOB_UNKNOWN"


class ManifestUnknown(NotFound):
    """This repository has no such manifest."""

    code = "MANIFEST_UNKNOWN"


class UploadUnknown(NotFound):
    """There is no such upload here: it ended, expired, or belongs to somebody else. Start again."""

    code = "BLOB_UPLOAD_UNKNOWN"


class Unsupported(CargoholdError):
    """This registry does not offer that operation."""

    status = 405
    code = "UNSUPPORTED"

    def __init__(self, message: str | None = None, /, *, allow: str = "", **facts: object) -> None:
        super().__init__(message, **facts)
        self.allow = allow

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Allow", self.allow)] if self.allow else []


class Conflict(CargoholdError):
    """Something of that name is there already."""

    status = 409
    code = "DENIED"


class PreconditionFailed(CargoholdError):
    """The condition that the request set (If-Match, a protecting rule) does not hold."""

    status = 412
    code = "DENIED"


class ManifestTooLarge(CargoholdError):
    """The manifest is larger than this registry accepts."""

    status = 413
    code = "SIZE_INVALID"


class UploadRangeInvalid(CargoholdError):
    """The bytes do not start where the upload stands; nothing was written. Go on at the offset in Range."""

    status = 416
    code = "BLOB_UPLOAD_INVALID"

    def __init__(self, *, offset: int, location: str = "", upload: str = "") -> None:
        super().__init__(offset=offset)
        self.offset, self.location, self.upload = offset, location, upload

    @property
    def headers(self) -> list[tuple[str, str]]:
        found = [("Range", f"0-{max(self.offset - 1, 0)}")]
        if self.location:
            found += [("Location", self.location), ("Docker-Upload-UUID", self.upload)]
        return found


class BlobRangeInvalid(CargoholdError):
    """The blob has no bytes in that range."""

    status = 416
    code = "UNSUPPORTED"

    def __init__(self, size: int) -> None:
        super().__init__(size=size)
        self.size = size

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Content-Range", f"bytes */{self.size}")]


class TooManyRequests(CargoholdError):
    """Too many requests; try again after the time in Retry-After."""

    status = 429
    code = "TOOMANYREQUESTS"

    def __init__(self, message: str | None = None, /, *, retry_after: int = 1, **facts: object) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Retry-After", str(self.retry_after))]


class Corrupt(CargoholdError):
    """The stored bytes are not what their digest says; they are not served. `cargohold registry fsck` tells more."""

    status = 500
    code = "BLOB_UNKNOWN"


class Unavailable(CargoholdError):
    """The registry cannot do this right now; try again."""

    status = 503
    code = "UNAVAILABLE"

    def __init__(self, message: str | None = None, /, *, retry_after: int = 5, **facts: object) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Retry-After", str(self.retry_after))]


class TooSlow(Unavailable):
    """The question took longer than it may; ask for less."""


class DatabaseAway(Unavailable):
    """The database does not answer right now; try again."""

    @property
    def told(self) -> str:
        return " ".join((type(self).__doc__ or "").split())


class StorageFull(CargoholdError):
    """No space is left to store this; nothing was lost. Reading goes on."""

    status = 507
    code = "DENIED"
