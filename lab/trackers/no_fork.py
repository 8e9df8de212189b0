"""Imports in a background thread that can't hang a loader's worker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

_IMPORTING = RLock()
if hasattr(os, "register_at_fork"):  # Windows starts its workers afresh
    os.register_at_fork(
        before=_IMPORTING.acquire, after_in_parent=_IMPORTING.release, after_in_child=_IMPORTING.release
    )


@contextmanager
def no_fork() -> Iterator[None]:
    """Within this, a fork by another thread waits.

    A process that is forked while a thread imports a module inherits the module's lock and nobody who will
    release it: should the child import the same module, as a worker that opens a picture does with
    Pillow's, it hangs for ever.
    """
    with _IMPORTING:
        yield
