"""The folder of multiprocessing's sockets, whose paths the kernel limits to 108 bytes."""

import os
import tempfile
from multiprocessing import util

_LONGEST = 108 - len("/pymp-12345678/listener-12345678\0")
_SHORT = ("/tmp", "/var/tmp", "/dev/shm")


def shorten() -> None:
    """Let this process and those that it starts make sockets in a short folder where TMPDIR is long.

    Other temporary files, which may be large, stay in TMPDIR.
    """
    whole = tempfile.gettempdir()
    if len(os.fsencode(whole)) <= _LONGEST:
        return
    tempfile.tempdir = next((folder for folder in _SHORT if os.access(folder, os.W_OK)), whole)
    try:
        util.get_temp_dir()  # chosen once for a process and its children
    finally:
        tempfile.tempdir = whole
