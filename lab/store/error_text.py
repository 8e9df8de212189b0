"""Texts of exceptions as any file and any console can take them: a user's own may be anything."""

import traceback


class PartNote(str):
    """A note of an exception on the part of a run that raised it, which belongs to its text."""


def text_of(error: BaseException) -> str:
    """Return the text of an exception as it can be written anywhere; one that fails itself is named."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - a user's `__str__` may raise anything
        text = f"<its text can't be made: {type(failure).__name__}>"
    return _encodable(text)


def kind_and_text(error: BaseException) -> str:
    """Return the class and the text of an exception, and the part that raised it: `ValueError: too many`."""
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()) if isinstance(note, PartNote))
    return _encodable(f"{type(error).__name__}: {text_of(error)}{notes}")


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception as it can be written anywhere."""
    return _encodable("".join(traceback.format_exception(error)))


def _encodable(text: str) -> str:
    """Replace lone surrogates, which no encoding has, by their escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
