"""Ends that would pass for success: `os._exit(0)` in a module while its command is at work."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def silent_exits_fail() -> Iterator[None]:
    """Within the context, give `os._exit(0)` of this process a message and the exit code 1."""
    own, leave = os.getpid(), os._exit

    def _exit(status: int) -> NoReturn:
        if status == 0 and os.getpid() == own:  # a forked child may end as it likes
            os.write(2, b"main.py: os._exit(0) was called before the command was done\n")
            status = 1
        leave(status)

    os._exit = _exit
    try:
        yield
    finally:
        os._exit = leave
