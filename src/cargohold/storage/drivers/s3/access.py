"""Where the bucket is and how one signs for it: the settings of storage.s3 as both libraries want them.

Callers: objects.py, control.py.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cargohold.config.settings import S3


@dataclass(frozen=True)
class Access:
    bucket: str
    region: str
    endpoint: str | None
    """URL with scheme, or None for Amazon's own."""
    public: str | None
    """URL that clients can reach, or None when nobody named one."""
    verify: bool
    ca_bundle: str | None
    prefix: str
    """What comes before every key: empty, or with a slash at its end."""

    @classmethod
    def of(cls, settings: S3) -> Access:
        scheme = "https://" if settings.secure else "http://"
        root = settings.rootdirectory.strip("/")
        endpoint = _url(settings.regionendpoint, scheme)
        return cls(
            bucket=settings.bucket,
            region=settings.region,
            endpoint=endpoint,
            public=_url(settings.public_endpoint, scheme) or endpoint,
            verify=not settings.skipverify,
            ca_bundle=os.environ.get("AWS_CA_BUNDLE"),
            prefix=root + "/" if root else "",
        )

    @property
    def plain(self) -> bool:
        return self.endpoint is not None and self.endpoint.startswith("http://")


def _url(text: str, scheme: str) -> str | None:
    text = text.rstrip("/")
    if not text:
        return None
    return text if "://" in text else scheme + text
