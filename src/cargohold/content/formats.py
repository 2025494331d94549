"""Manifests as data: which bytes are a manifest, of which kind, and what they name (OCI image-spec 1.1, docker schema 2).

    bytes + Content-Type --parse--> Parsed(media_type, config, layers, children, subject, ...)

Kinds: an *image* names a config and layers; an *index* names children. Both may name a subject. The bytes themselves are
stored as they came. Refused with `ManifestInvalid`, whose `field` says where: schema 1, a body whose `mediaType` is not
its Content-Type, an image with `manifests` or an index with `layers` (type confusion, CVE-2021-41190), bad descriptors.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from cargohold.errors import ManifestInvalid
from cargohold.names import Digest, Malformed, MediaType

OCI_IMAGE = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_IMAGE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
EMPTY_CONFIG = "application/vnd.oci.empty.v1+json"

IMAGES = frozenset({OCI_IMAGE, DOCKER_IMAGE})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
_KNOWN = IMAGES | INDEXES | {OCI_ARTIFACT}
_SCHEMA1 = re.compile(r"application/vnd\.docker\.distribution\.manifest\.v1\+(json|prettyjws)")
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.?)*+(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)
_NUL = "\0"
"""PostgreSQL stores no text with it, and no name or type has one."""
_FOREIGN_DOCKER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
_SCHEMA1_REFUSED = (
    "manifest schema version 1 is not supported: it was retired by docker in 2019. Push again with a docker of version 1.10 or newer"
)


class Descriptor(msgspec.Struct, frozen=True):
    """What a manifest says of a thing that it names. `urls` mark content that lives elsewhere."""

    digest: Digest
    size: int
    media_type: str
    urls: tuple[str, ...] = ()


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    media_type: str
    artifact_type: str | None
    """As the referrers list tells it: the manifest's `artifactType`, else the media type of its config."""
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    children: tuple[Descriptor, ...]
    subject: Digest | None
    annotations: dict[str, str] | None


def parse(body: bytes, content_type: str, *, depth: int, references: int) -> Parsed:
    """Raises ManifestInvalid. `depth` and `references` are the caps of settings.Limits."""
    if _too_deep(body, depth):
        raise ManifestInvalid(f"the manifest nests deeper than {depth} levels", field="", limit=depth)
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"the manifest is not JSON: {error}", field="") from None
    if not isinstance(document, dict):
        raise ManifestInvalid("a manifest is a JSON object", field="")
    media_type = _media_type(document, content_type)
    if document.get("schemaVersion") != 2 and media_type != OCI_ARTIFACT:
        raise ManifestInvalid("schemaVersion must be 2", field="schemaVersion")
    index = media_type in INDEXES
    _refuse_mixture(document, media_type, index=index)
    config = None if index or media_type == OCI_ARTIFACT else _descriptor(document.get("config"), "config")
    layers = () if index else _descriptors(document, "blobs" if media_type == OCI_ARTIFACT else "layers", media_type)
    children = _descriptors(document, "manifests", media_type) if index else ()
    if len(layers) + len(children) > references:
        raise ManifestInvalid(f"the manifest names more than {references} things", field="layers", limit=references)
    subject = document.get("subject")
    artifact_type = _text(document, "artifactType") or (config.media_type if config else None)
    return Parsed(
        media_type=media_type,
        artifact_type=artifact_type or None,
        config=config,
        layers=layers,
        children=children,
        subject=None if subject is None or media_type in (DOCKER_IMAGE, DOCKER_LIST) else _descriptor(subject, "subject").digest,
        annotations=_annotations(document),
    )


def platform_child(body: bytes, os: str, architecture: str) -> Digest | None:
    """The child of an index for that platform, if it names one."""
    for child in msgspec.json.decode(body).get("manifests", []):
        platform = child.get("platform")
        if isinstance(platform, dict) and platform.get("os") == os and platform.get("architecture") == architecture:
            return Digest.parse(child["digest"])
    return None


def _too_deep(body: bytes, limit: int) -> bool:
    """Counts brackets outside of strings, without building anything; linear also in an unterminated string."""
    level = 0
    for token in _TOKEN.finditer(body):
        first = token[0][:1]
        if first in b"[{":
            level += 1
            if level > limit:
                return True
        elif first in b"]}":
            level -= 1
    return False


def _media_type(document: dict[str, Any], content_type: str) -> str:
    """Content-Type where it is a manifest's; else the body's `mediaType`; else the shape (table row 12 of the docs)."""
    try:
        header = str(MediaType.parse(content_type)) if content_type else ""
    except Malformed as error:
        raise ManifestInvalid(str(error), field="Content-Type") from None
    inside = _text(document, "mediaType")
    if _SCHEMA1.fullmatch(header) or _SCHEMA1.fullmatch(inside) or document.get("schemaVersion") == 1:
        raise ManifestInvalid(_SCHEMA1_REFUSED, field="schemaVersion")
    if header in _KNOWN:
        if inside and inside != header:
            raise ManifestInvalid(f"mediaType is {inside!r} while Content-Type is {header!r}", field="mediaType")
        if not inside and header in (DOCKER_IMAGE, DOCKER_LIST):
            raise ManifestInvalid(f"mediaType must be {header!r}", field="mediaType")
        return header
    if inside:
        if inside not in _KNOWN:
            raise ManifestInvalid(f"{inside!r} is not the media type of a manifest", field="mediaType")
        return inside
    if "manifests" in document:
        return OCI_INDEX
    if "config" in document or "layers" in document:
        return OCI_IMAGE
    raise ManifestInvalid(
        "neither Content-Type nor mediaType nor the shape of the body says what kind of manifest this is", field="mediaType"
    )


def _refuse_mixture(document: dict[str, Any], media_type: str, *, index: bool) -> None:
    for field in ("config", "layers") if index else ("manifests",):
        if field in document:
            raise ManifestInvalid(f"{media_type} has no field {field!r}", field=field)


def _descriptors(document: dict[str, Any], field: str, media_type: str) -> tuple[Descriptor, ...]:
    items = document.get(field)
    if items is None and media_type == OCI_ARTIFACT:
        return ()
    if not isinstance(items, list):
        raise ManifestInvalid(f"{field} must be a list", field=field)
    found = tuple(_descriptor(item, f"{field}[{number}]") for number, item in enumerate(items))
    for number, item in enumerate(found):
        if item.media_type == _FOREIGN_DOCKER and not item.urls:
            raise ManifestInvalid("a foreign layer needs urls", field=f"{field}[{number}].urls")
    return found


def _descriptor(value: object, field: str) -> Descriptor:
    if not isinstance(value, dict):
        raise ManifestInvalid(f"{field} must be a descriptor", field=field)
    size = value.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 1 << 63:
        raise ManifestInvalid(f"{field}.size must be a whole number of bytes", field=f"{field}.size")
    media_type = value.get("mediaType")
    if not isinstance(media_type, str) or not media_type or _NUL in media_type:
        raise ManifestInvalid(f"{field}.mediaType must be a media type", field=f"{field}.mediaType")
    try:
        digest = Digest.parse(str(value.get("digest", "")))
    except Malformed as error:
        raise ManifestInvalid(f"{field}.digest: {error}", field=f"{field}.digest") from None
    return Descriptor(digest, size, media_type, _urls(value.get("urls"), f"{field}.urls"))


def _urls(value: object, field: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ManifestInvalid(f"{field} must be a list of URLs", field=field)
    for url in value:
        if not url.startswith(("http://", "https://")) or "#" in url:
            raise ManifestInvalid(f"{field} must hold http or https URLs without a fragment", field=field)
    return tuple(value)


def _text(document: dict[str, Any], field: str) -> str:
    value = document.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or _NUL in value:
        raise ManifestInvalid(f"{field} must be a text", field=field)
    return value


def _annotations(document: dict[str, Any]) -> dict[str, str] | None:
    value = document.get("annotations")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestInvalid("annotations must map texts to texts", field="annotations")
    return value
