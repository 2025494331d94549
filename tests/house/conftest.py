"""The bucket that the page about S3 is tried with."""

from __future__ import annotations

from tests.storage.weed import s3_server as s3_server
from tests.storage.weed import s3_settings as s3_settings
