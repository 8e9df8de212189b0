"""Takes the secrets out of what is written down: a record is shared with a whole team, a password isn't."""

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
_URL_PASSWORD = re.compile(r"(?<![\w+.-])(?P<before>[A-Za-z][\w+.-]{0,40}://[^\s/:@]*:)[^\s/@]+(?=@)")
_URL_PARAMETER = re.compile(
    r"(?P<before>[?&][\w.-]*(?:key|token|password|passwd|secret|signature)=)[^\s&#]+", re.IGNORECASE
)
# `name = "text"`, `name: text`, `"name": 'text'`; a bare text ends at a blank or at punctuation of code.
_ASSIGNMENT = re.compile(
    r"""(?<![\w.-])(?P<name>[A-Za-z_-][\w.-]{0,120})(?P<equals>["']?\s*[=:]\s*)"""
    r"""(?:(?P<quote>["'])(?P<quoted>(?:(?!(?P=quote))[^\n])+)(?P=quote)|(?P<bare>[\w+/=.~-]+)(?=[\s,;)\]}]|$))""",
    re.MULTILINE,
)
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=~-]{8,}")  # no name that code would use as a value
_NUMBER = re.compile(r"[-+]?[\d_.]+(?:[eE][-+]?\d+)?")
_KNOWN = re.compile(r"\b(?:gh[opsu]_\w{20,}|github_pat_\w{20,}|hf_\w{20,}|sk-[\w-]{20,}|AKIA[0-9A-Z]{16})\b")
_HINT = re.compile(r"key|token|passw|passphrase|secret|credential|bearer|authorization", re.IGNORECASE)


def redact(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config in which the values of secret-looking keys, and passwords in URLs, read `***`."""
    return {key: _value(str(key), value) for key, value in config.items()}


def redact_text(text: str) -> str:
    """The text with `***` in place of the passwords and access keys of its URLs."""
    for pattern in (_URL_PASSWORD, _URL_PARAMETER):
        text = pattern.sub(rf"\g<before>{HIDDEN}", text)
    return text


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line in which `a.api_key=…`, `--token …`, `WANDB_API_KEY=…` and URLs hide their secret."""
    shown: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value and _is_secret(name.rpartition(".")[2], value):
            argument = f"{name}={HIDDEN}"
        elif shown and _names_a_secret(shown[-1], argument):
            argument = HIDDEN
        shown.append(redact_source(argument))
    return shown


def command_line_has_secret(arguments: Sequence[str] | None = None) -> bool:
    """Whether something in the command line would be hidden; by default this process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return redact_arguments(given) != given


def redact_source(text: str) -> str:
    """Code or a diff in which literal values of secret-looking names are hidden, and everything else stays.

    Code says `key=len` and `token = next(tokens)`: only quoted texts, and bare ones of eight or more
    characters that mix letters and digits, are taken for secrets here.
    """
    lines = redact_text(text).splitlines(keepends=True)
    shown = "".join(_ASSIGNMENT.sub(_assignment, line) if _HINT.search(line) else line for line in lines)
    return _KNOWN.sub(HIDDEN, shown)


def _assignment(match: re.Match[str]) -> str:
    name, equals, quote = match["name"], match["equals"], match["quote"] or ""
    literal = match["quoted"] or (match["bare"] if _OPAQUE.fullmatch(match["bare"] or "") else None)
    if literal is None or not _is_secret(name.rpartition(".")[2], literal):
        return match[0]
    return f"{name}{equals}{quote}{HIDDEN}{quote}"


def _names_a_secret(option: str, value: str) -> bool:
    return option.startswith("--") and "=" not in option and value[:1] != "-" and _is_secret(option, value)


def _is_secret(name: str, value: str) -> bool:
    words = _words(name)
    return bool(words & _ALWAYS or (words & _TEXT_ONLY and not _NUMBER.fullmatch(value)))


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def _value(key: str, value: Any) -> Any:
    words = _words(key)
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
