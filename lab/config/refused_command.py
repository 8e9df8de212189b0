"""Commands that a finished run, its images or its files make impossible: a line, and exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager

from lab.config import ConfigError


class Refused(Exception):
    """A command that a run, its images or its files make impossible; the message has the reason."""


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what a run, its images or its files make impossible into `Refused`.

    Raises:
        Refused: for a ValueError or an OSError.
    """
    try:
        yield
    except (ConfigError, BrokenPipeError):  # each has an answer of its own
        raise
    except ValueError as error:
        raise Refused(error) from error
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
