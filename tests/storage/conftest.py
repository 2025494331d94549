"""Fixtures of the S3 server; other folders take them by the same import."""

from __future__ import annotations

from tests.storage.weed import s3_server as s3_server
from tests.storage.weed import s3_settings as s3_settings
