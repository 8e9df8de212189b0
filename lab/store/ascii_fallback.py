"""Other signs for those that a console can't write, so that its encoding ends nothing.

A sign of punctuation or mathematics gets one of ASCII that reads alike. A letter becomes its escape, `\\xe9`:
it may be part of a file's name, where another letter would name another file.
"""

import codecs
import unicodedata

HANDLER = "lab.store.ascii_fallback"
_READ_ALIKE = {
    "·": "-", "•": "*", "…": "...", "⋯": "...", "‐": "-", "‑": "-", "–": "-", "—": "-", "−": "-", "─": "-",
    "│": "|", "×": "x", "÷": "/", "±": "+-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "→": "->", "←": "<-",
    "√": "sqrt", "∞": "inf", "Σ": "sum", "Δ": "delta", "µ": "u", "μ": "u", "°": "deg", "⁄": "/", "✓": "ok",
    "✗": "x", "‘": "'", "’": "'", "‚": "'", "“": '"', "”": '"', "„": '"', "«": "<<", "»": ">>", "‹": "<",
    "›": ">",
}  # fmt: skip


def writable(text: str, encoding: str) -> str:
    """The text with other signs for those that the encoding lacks; equal where it has all of them."""
    return text.encode(encoding, HANDLER).decode(encoding)


def can_write(text: str, encoding: str | None) -> bool:
    """Return whether an encoding has all signs of a text; one that isn't known has those of ASCII."""
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """Replace what could not be encoded, as a handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_stand_in, error.object[error.start : error.end])), error.end


def _stand_in(sign: str) -> str:
    if sign in _READ_ALIKE:
        return _READ_ALIKE[sign]
    if "\udc80" <= sign <= "\udcff":  # a byte of a file's name that is no text
        return f"\\x{ord(sign) - 0xDC00:02x}"
    if unicodedata.category(sign)[0] not in "LMC":
        power = "^" * unicodedata.decomposition(sign).startswith("<super>")
        parts = [_READ_ALIKE.get(part, part) for part in unicodedata.normalize("NFKD", sign)]
        if (plain := "".join(parts)).isascii():
            return f"{power}{plain}"
    return sign.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(HANDLER, _replaced)
