"""Removal of secrets from what is recorded: a record is shared with a whole team, a password isn't."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

HIDDEN = "***"
# Words of a name: `num_tokens`, `API-Key`, `accessToken` are two each; `monkey` and `tokenizer` are one.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALWAYS = frozenset(
    {"password", "passwords", "passwd", "passphrase", "secret", "secrets", "credential", "credentials"}
)
# Here numbers stay, for `max_tokens: 512` and `key: 3` are settings and no secrets.
_TEXT_ONLY = frozenset({"key", "keys", "apikey", "apikeys", "token", "tokens", "bearer", "authorization"})
# With one of these the value is a secret whatever it looks like; else `image_key: image` is a setting.
_STRONG = frozenset(
    "api apikey apikeys access private auth bearer authorization hf wandb github".split()  # noqa: SIM905
)
_WORDS = re.compile(r"\[?[A-Za-z]+(?:[ _./-](?:[A-Za-z]+|\d{1,2}))*\]?")
_ENDINGS = ("password", "passwd", "passphrase", "secret", "apikey", "accesskey", "secretkey", "authtoken")
_URL_PASSWORD = re.compile(
    r"(?<![\w+.-])(?P<before>[A-Za-z][\w+.-]{0,40}://[^\s/:@]*:)(?!\d{1,5}/)[^\s@]{1,256}(?=@)"
)
_URL_PARAMETER = re.compile(
    r"(?P<before>[?&][\w.-]*(?:key|token|password|passwd|secret|signature)=)[^\s&#]+", re.IGNORECASE
)
# `name = "text"`, `name: text`, `"name": 'text'`: the name and the sign, before a value.
_NAME = re.compile(r"""(?<![\w.-])(?P<name>[A-Za-z_-][\w.-]{0,120})["']?\s*+[=:]\s*+""")
_BARE = re.compile(r"[\w+/=.~-]*+")
_AFTER_BARE = ",;)]}"
_OPAQUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[\w+/=~-]{8,}")  # no name that code would use as a value
_NUMBER = re.compile(r"[-+]?[\d_.]+(?:[eE][-+]?\d+)?")
_KNOWN = re.compile(
    r"\b(?:gh[opsu]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_\w{20,}|sk[-_][\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|A[KS]IA[0-9A-Z]{16}|AIza[\w-]{35}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,})(?![\w-])"
)
_BEARER = re.compile(r"(?P<before>\b(?:bearer|basic)\s+)[\w+/=.~-]{8,}", re.IGNORECASE)
_PRIVATE_KEY = re.compile(
    r"(?P<before>-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----)(?:(?!-----END)[\s\S])+"
    r"(?P<after>-----END [A-Z0-9 ]*PRIVATE KEY-----)?"
)
_HINT = re.compile(r"key|token|passw|passphrase|secret|credential|bearer|authorization")  # casefolded
_KNOWN_START = re.compile(r"gh[opsu]_|github_pat_|glpat-|hf_|sk[-_]|xox[abprs]-|A[KS]IA|AIza|eyJ")
_SHORTEST = 8  # characters of a secret that is looked for in texts: shorter ones are words as well
_learned: set[str] = set()


def learn(config: Mapping[str, object]) -> None:
    """Register the secrets of a config: wherever they turn up in a text from now on, they are hidden."""
    found = {value for value in _secrets("", config) if len(value) >= _SHORTEST and HIDDEN not in value}
    _learned.update(found)
    _literals.cache_clear()  # the environment may have changed, too


def hidden(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of what a record hides, for whoever wants to use it again."""
    if isinstance(config, str) and HIDDEN in config:
        yield path
    items = config.items() if isinstance(config, Mapping) else enumerate(config) if _is_list(config) else ()
    for key, value in items:
        yield from hidden(value, (*path, str(key)))


def restored(config: Any, source: Any) -> Any:
    """A record's config with what it hides taken from another that has it; what neither has stays hidden."""
    if isinstance(config, Mapping) and isinstance(source, Mapping):
        return {key: restored(value, source.get(key)) for key, value in config.items()}
    if _is_list(config) and _is_list(source) and len(config) == len(source):
        return [restored(value, other) for value, other in zip(config, source, strict=True)]
    return source if isinstance(config, str) and HIDDEN in config and source is not None else config


def redact(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the config in which the values of secret-looking keys, and passwords in URLs, read `***`."""
    return {key: _value(str(key), value) for key, value in config.items()}


def redact_text(text: str) -> str:
    """The text with `***` in place of secrets: by what is around them, by their own form, and those we know.

    That are passwords and access keys of URLs, `password=…`, bearer headers, private keys, the secrets of
    the environment and those that `learn` was given.
    """
    # Most texts, such as the lines of a console, have nothing of these, and are spared the costly patterns.
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<before>{HIDDEN}", text)
    text = _URL_PARAMETER.sub(rf"\g<before>{HIDDEN}", text)
    if _HINT.search(text.casefold()):
        text = _PRIVATE_KEY.sub(rf"\g<before>{HIDDEN}\g<after>", text)
        text = _BEARER.sub(rf"\g<before>{HIDDEN}", text)
        text = _without_values(text, _is_secret_in_prose)
    if _KNOWN_START.search(text):
        text = _KNOWN.sub(HIDDEN, text)
    literals = _literals()
    return text if literals is None else literals.sub(HIDDEN, text)


def redact_arguments(arguments: Sequence[str]) -> list[str]:
    """A command line in which `a.api_key=…`, `--token …`, `WANDB_API_KEY=…` and URLs hide their secret."""
    shown: list[str] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if value and _is_secret(name.rpartition(".")[2], value):
            argument = f"{name}={HIDDEN}"
        # `--token VALUE`: the argument before names it.
        elif shown and _names_a_secret(shown[-1], argument):
            argument = HIDDEN
        shown.append(redact_source(argument))
    return shown


def command_line_has_secret(arguments: Sequence[str] | None = None) -> bool:
    """Return whether something in the command line would be hidden; by default this process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return redact_arguments(given) != given


def redact_source(text: str) -> str:
    """Code or a diff in which literal values of secret-looking names are hidden, and everything else stays.

    Code has `key=len` and `token = next(tokens)`: only quoted texts, and bare ones of eight or more
    characters that mix letters and digits, are taken for secrets here.
    """
    lines = redact_text(text).splitlines(keepends=True)
    shown = "".join(
        _without_values(line, _is_secret_in_code) if _HINT.search(line.casefold()) else line for line in lines
    )
    return _KNOWN.sub(HIDDEN, shown)


class _Assignment(NamedTuple):
    """A value that a text assigns to a name; a bare one ends at a blank or at punctuation of code."""

    name: str
    value: str
    start: int
    quoted: bool


def _without_values(text: str, is_secret: Callable[[_Assignment], bool]) -> str:
    """Replace the values of some assignments by `***`."""
    shown, end = [], 0
    for found in _assignments(text):
        if is_secret(found):
            shown += [text[end : found.start], HIDDEN]
            end = found.start + len(found.value)
    return "".join([*shown, text[end:]])


def _assignments(text: str) -> Iterator[_Assignment]:
    """Yield what a text assigns to names, in linear time.

    A pattern of names and values together would read `a=a=a=…` to its end again from each name.
    """
    position = run_end = 0
    while (match := _NAME.search(text, position)) is not None:
        start, position = match.end(), match.start() + 1
        mark = text[start : start + 1]
        if quoted := mark in ("'", '"'):
            start += 1
            end = text.find(mark, start)
            complete = end > start and text.find("\n", start, end) < 0
        else:
            if start >= run_end and (run := _BARE.match(text, start)) is not None:
                run_end = run.end()
            end = run_end
            complete = end > start and (end == len(text) or text[end] in _AFTER_BARE or text[end].isspace())
        if complete:
            position = end + quoted
            yield _Assignment(match["name"].rpartition(".")[2], text[start:end], start, quoted)


@lru_cache(maxsize=1)
def _literals() -> re.Pattern[str] | None:
    """Finds the secrets that are known, as they are and as JSON and URLs write them; None without any."""
    known = set(_learned)
    for name, value in os.environ.items():
        known.update(each for each in _secrets(name, value) if len(each) >= _SHORTEST and HIDDEN not in each)
    # A secret may be shown within JSON, or quoted in a URL.
    forms = {form for value in known for form in (value, json.dumps(value)[1:-1], quote(value, safe=""))}
    forms |= {
        line for value in known if "\n" in value for line in value.split("\n") if len(line) > 2 * _SHORTEST
    }
    # A password that is a word, such as `postgres`, can't be distinguished from the word.
    forms = {form for form in forms if form and not (form.isalpha() and len(form) < 12)}
    return re.compile("|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None


def _secrets(name: str, value: Any, below: bool = False) -> Iterator[str]:
    """The texts of a config, or of a variable of the environment, that are secrets worth to look for."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secrets(str(key), item, below or bool(_words(name) & _ALWAYS))
    elif _is_list(value):
        for item in value:
            yield from _secrets(name, item, below)
    elif isinstance(value, str):
        named = below or _is_secret(name, value)
        telling = _OPAQUE.fullmatch(value) or below or _words(name) & (_ALWAYS | _STRONG)
        if named and telling and not value.startswith(("/", "~", "./", "../")):  # a file with keys
            yield value
        for pattern in (_URL_PASSWORD, _URL_PARAMETER):
            yield from (found[0][len(found["before"]) :] for found in pattern.finditer(value))


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _is_secret_in_prose(found: _Assignment) -> bool:
    """Return whether prose hides a value: `KeyError: 'width'` and `token: the last` are no secrets."""
    opaque = _OPAQUE.fullmatch(found.value) or (_words(found.name) & _ALWAYS and found.quoted)
    return bool(opaque and not found.name.endswith("Error") and _is_secret(found.name, found.value))


def _is_secret_in_code(found: _Assignment) -> bool:
    return bool((found.quoted or _OPAQUE.fullmatch(found.value)) and _is_secret(found.name, found.value))


def _names_a_secret(option: str, value: str) -> bool:
    return option.startswith("--") and "=" not in option and value[:1] != "-" and _is_secret(option, value)


def _is_secret(name: str, value: str) -> bool:
    words = _words(name)
    return bool(words & _ALWAYS or (words & _TEXT_ONLY and not _NUMBER.fullmatch(value)))


def _words(name: str) -> set[str]:
    words = {word.lower() for word in _WORD.findall(name)}
    return words | {"secret" for word in words if word.endswith(_ENDINGS)}  # PGPASSWORD is one word


def _value(key: str, value: object) -> Any:
    words = _words(key)
    if words & _ALWAYS:
        return _hide(value, (str, bytes, int, float))
    if words & _TEXT_ONLY:
        return _hide(value, (str, bytes), settings_stay=not words & _STRONG, about=not _ends_in_one(key))
    return _plain(value)


def _ends_in_one(name: str) -> bool:
    """Return whether a name is that of a key or token, which `token_mixer` and `key_column` are not."""
    return _WORD.findall(name)[-1].lower() in _TEXT_ONLY


def _is_setting(value: str, about: bool) -> bool:
    """`image`, `[PAD]`, `train.images`: words, which a resumed run needs.

    Args:
        about: whether the name only has to do with keys: then `pool2d` is a setting, too.
    """
    if about:
        return not (len(value) >= 2 * _SHORTEST and _OPAQUE.fullmatch(value))
    return len(value) <= 24 and bool(_WORDS.fullmatch(value))


def _plain(value: object) -> object:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _hide(value: object, kinds: tuple[type, ...], settings_stay: bool = False, about: bool = False) -> object:
    """Hide everything of these kinds below a secret key; an empty value reveals nothing and stays."""
    if isinstance(value, Mapping):
        return {key: _hide(item, kinds, settings_stay, about) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hide(item, kinds, settings_stay, about) for item in value]
    if settings_stay and isinstance(value, str) and _is_setting(value, about):
        return redact_text(value)
    return HIDDEN if isinstance(value, kinds) and not isinstance(value, bool) and value != "" else value
