"""Removal of secrets from what is printed."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from lab.store.error_text import traceback_of
from lab.store.redact import redact_text


@contextmanager
def redacted_output() -> Iterator[None]:
    """Redact what is printed meanwhile, and the traceback that ends it, with exit code 1.

    A scheduler keeps both in a file. `sys.excepthook` won't do: W&B sets one of its own.
    """
    out, err = cast(TextIO, RedactingStream(sys.stdout)), cast(TextIO, RedactingStream(sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            yield
        except Exception as error:  # noqa: BLE001 - this is where the interpreter would show it
            err.write(traceback_of(error))
            raise SystemExit(1) from None


class RedactingStream:
    """A text stream that hides secrets on their way to another; all else is the other's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it without secrets."""
        self._stream.write(redact_text(text))
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
