"""Takes the secrets out of what trackers see: a config is shared with a whole team, a password isn't."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "***"
# Words of a name: `num_tokens`, `API-Key`, `accessToken` are two each; `monkey` and `tokenizer` are one.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = frozenset(
    {"password", "passwords", "passwd", "passphrase", "secret", "secrets", "credential", "credentials"}
)
# Here numbers stay, for `max_tokens: 512` and `key: 3` are settings and no secrets.
_TEXT_ONLY = frozenset({"key", "keys", "apikey", "apikeys", "token", "tokens", "bearer", "authorization"})
_URL_PASSWORD = re.compile(r"(?P<before>[A-Za-z][\w+.-]*://[^\s/:@]*:)[^\s/@]+(?=@)")
_URL_PARAMETER = re.compile(
    r"(?P<before>[?&][\w.-]*(?:key|token|password|passwd|secret|signature)=)[^\s&#]+", re.IGNORECASE
)


def redact(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config in which the values of secret-looking keys, and passwords in URLs, read `***`."""
    return {key: _value(str(key), value) for key, value in config.items()}


def command_line_has_secret(arguments: Sequence[str] | None = None) -> bool:
    """Whether an argument (`--set data.token=…`, a URL) would be redacted; by default this process's own."""
    for argument in sys.argv[1:] if arguments is None else arguments:
        key, _, value = argument.partition("=")
        if redact_text(argument) != argument or redact({key: value}) != {key: value}:
            return True
    return False


def redact_text(text: str) -> str:
    """The text with `***` in place of the passwords and access keys of its URLs."""
    for pattern in (_URL_PASSWORD, _URL_PARAMETER):
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text


def _value(key: str, value: Any) -> Any:
    words = {word.lower() for word in _WORD.findall(key)}
    if words & _ALWAYS:
        return _hide(value, (str, bytes, int, float))
    if words & _TEXT_ONLY:
        return _hide(value, (str, bytes))
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _hide(value: Any, kinds: tuple[type, ...]) -> Any:
    """Everything of these kinds below a secret key; an empty value tells nobody anything and stays."""
    if isinstance(value, Mapping):
        return {key: _hide(item, kinds) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(item, kinds) for item in value]
    return HIDDEN if isinstance(value, kinds) and not isinstance(value, bool) and value != "" else value
