"""Settings as people may see them: secrets taken out.

Callers: `cargohold config show`, and whoever logs a setting.
"""

from __future__ import annotations

import re

from cargohold.config.describe import Setting, every_setting, value_of
from cargohold.config.settings import Settings

REDACTED = "***"
_USERINFO = re.compile(r"(?P<before>\w+://[^:/?#@]*:).*(?=@)")
_PARAMETER = re.compile(r"(?P<before>[?&]\w*(?:password|secret)=)[^&#]*", re.IGNORECASE)


def shown(setting: Setting, value: object) -> object:
    """The value, or what may be shown of it: nothing of a secret, of a URL all but its password."""
    if not setting.secret or not value:
        return value
    if not setting.url:
        return REDACTED
    return _PARAMETER.sub(rf"\g<before>{REDACTED}", _USERINFO.sub(rf"\g<before>{REDACTED}", str(value)))


def shown_settings(settings: Settings) -> dict[str, object]:
    """Path -> what may be shown, every setting."""
    return {path: shown(setting, value_of(settings, path)) for path, setting in every_setting().items()}
