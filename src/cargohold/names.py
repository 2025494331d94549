"""Names of the field, parsed once and trusted after: Digest, RepoName, Tag, Reference, MediaType, ByteRange.

Every class is a `str` (or a tuple of ints) that can only be made by `parse`, so a value of that type in a signature
means "already checked". Grammar: OCI Distribution 1.1, sections "Pulling manifests" and "Content digests".
A text that does not fit raises `Malformed`, which says which rule it broke; the planes turn it into their own error.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple, Protocol, Self

REPOSITORY_LIMIT = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_UPLOAD = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_HEX = {"sha256": 64, "sha384": 96, "sha512": 128}
_LOWER_HEX = re.compile(r"[0-9a-f]+")
_RANGE = re.compile(r"(?:bytes[ =])?(\d{1,19})-(\d{1,19})(?:/(?:\*|\d+))?")


class Malformed(ValueError):
    """A text that breaks the grammar of the name it stands for; `str()` of it says how."""


class Hasher(Protocol):
    """What `hashlib.new` returns, as far as we use it."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Hasher: ...


class Digest(str):
    """`sha256:<64 lower-case hex>`, `sha384:` or `sha512:`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        algorithm, colon, encoded = text.partition(":")
        length = _HEX.get(algorithm)
        if not colon or length is None:
            raise Malformed(f"a digest starts with one of {', '.join(f'{a}:' for a in _HEX)}")
        if len(encoded) != length or not _LOWER_HEX.fullmatch(encoded):
            raise Malformed(f"a {algorithm} digest has {length} lower-case hexadecimal characters after the colon")
        return cls(text)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Self:
        return cls(f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def encoded(self) -> str:
        return self.partition(":")[2]

    def hasher(self) -> Hasher:
        return hashlib.new(self.algorithm)


class RepoName(str):
    """A repository's path, such as `team/app`: lower case, at most 255 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        if len(text) > REPOSITORY_LIMIT:
            raise Malformed(f"a repository name has at most {REPOSITORY_LIMIT} characters")
        if not _REPOSITORY.fullmatch(text):
            raise Malformed(
                "a repository name is lower-case letters and digits, parted by one of . _ __ - inside a component and / between components"
            )
        return cls(text)


class Tag(str):
    """1 to 128 characters, letters, digits, `_`, `.`, `-`; never starts with `.` or `-`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _TAG.fullmatch(text):
            raise Malformed("a tag is 1 to 128 letters, digits, _ . - and starts with a letter, a digit or _")
        return cls(text)


Reference = Tag | Digest


def parse_reference(text: str) -> Reference:
    """What follows `/manifests/`: with a colon a digest, without one a tag."""
    return Digest.parse(text) if ":" in text else Tag.parse(text)


class UploadId(str):
    """A random UUID in its usual text form; what `Docker-Upload-UUID` carries."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        if not _UPLOAD.fullmatch(text):
            raise Malformed("an upload id is a UUID in lower case")
        return cls(text)


class MediaType(str):
    """`type/subtype` without parameters (RFC 6838), at most 255 characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        bare = text.partition(";")[0].strip()
        if not _MEDIA_TYPE.fullmatch(bare):
            raise Malformed("a media type is type/subtype")
        return cls(bare)


class ByteRange(NamedTuple):
    """The `Content-Range` of an upload piece: first and last byte, both included (OCI end-5)."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> ByteRange:
        match = _RANGE.fullmatch(text.strip())
        if not match:
            raise Malformed("Content-Range of an upload is <first>-<last>")
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise Malformed("Content-Range of an upload ends before it starts")
        return cls(first, last)

    @property
    def length(self) -> int:
        return self.last - self.first + 1
