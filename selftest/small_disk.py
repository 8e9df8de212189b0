"""A file system of a few megabytes that can be filled up, seen only by the processes that enter it."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from selftest.bench import Bench, Process

FILLER = "filler.bin"
_PAGE = 4096
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000  # of <linux/sched.h>
_MOUNT = 'mount -t tmpfs -o size=8m tmpfs "$0" && echo ready && read end'


class NoSmallDisk(Exception):
    """There can't be one here; the message says why."""


class SmallDisk:
    """A tmpfs in a mount namespace of its own; a context that keeps it.

    A process holds the namespace; its input ends with this process, however that ends, and with it goes the
    file system. Root needs no more; others are root in a user namespace.

    Raises:
        NoSmallDisk: the machine allows neither.
    """

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench, self.place = bench, folder / "disk"
        self._user = os.geteuid() != 0

    def __enter__(self) -> "SmallDisk":
        self.place.mkdir()
        flags = "-Urm" if self._user else "-m"
        try:
            self._holder = subprocess.Popen(
                ["unshare", flags, "sh", "-c", _MOUNT, str(self.place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise NoSmallDisk(f"unshare: {error.strerror}") from error
        assert self._holder.stdout is not None
        # The shell prints `ready` once the file system is mounted.
        if self._holder.stdout.readline() != "ready\n":
            raise NoSmallDisk(self._holder.communicate()[1].strip() or "no tmpfs can be mounted")
        return self

    def __exit__(self, *exception: object) -> None:
        self._holder.communicate()

    def fork(self, folder: Path, function: Callable[..., object], *arguments: object) -> Process:
        """A process of the bench whose working folder is this file system."""
        inside = (self._holder.pid, self._user, self.place, function, arguments)
        return self._bench.fork(folder, _inside, *inside)


def fill(place: Path, room: int = 0) -> None:
    """Leave so many pages of free space, of 4 KiB each."""
    with (place / FILLER).open("ab", buffering=0) as file:
        # Large blocks first, then single pages up to the last one.
        for size in (2**16, _PAGE):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
        if room:
            file.truncate(file.seek(0, os.SEEK_END) - room * _PAGE)


def free(place: Path) -> None:
    """There is space again."""
    (place / FILLER).unlink(missing_ok=True)


def fill_at_opening(part: str, time: int, act: Callable[[], None]) -> None:
    """Act, from now on in this process, just before the file with this ending of its path is opened to write.

    Args:
        part: of the file's path, its folder or its end; what is written under another name first counts too.
        time: which opening it is, counted from 1.
    """
    seen = 0

    def on_audit_event(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event != "open" or seen >= time or not _to_write(arguments[1], arguments[2]):
            return
        if isinstance(arguments[0], (str, bytes, os.PathLike)) and part in os.fsdecode(arguments[0]):
            seen += 1
            if seen == time:
                act()

    sys.addaudithook(on_audit_event)


def _to_write(mode: str | None, flags: int) -> bool:
    return bool(set(mode) & set("wax+")) if mode else bool(flags & (os.O_WRONLY | os.O_RDWR))


def _inside(
    holder: int, user: bool, place: Path, function: Callable[..., object], given: tuple[object, ...]
) -> None:
    """Enter the namespaces of the holder; the process has one thread, as the kernel asks."""
    libc = ctypes.CDLL(None, use_errno=True)
    spaces = [("user", _NEW_USER)] if user else []
    for name, flag in [*spaces, ("mnt", _NEW_MOUNTS)]:
        with Path(f"/proc/{holder}/ns/{name}").open(encoding="utf-8") as file:
            if libc.setns(file.fileno(), flag):
                raise OSError(ctypes.get_errno(), f"setns {name}")
    os.chdir(place)
    function(*given)
