"""The reading end of a pseudo-terminal."""

import os


def read_to_end(leader: int) -> bytes:
    """Read what a terminal was sent until its other end is closed, and close it."""
    seen = b""
    try:
        while block := os.read(leader, 65536):
            seen += block
    except OSError:  # the other end is closed, and all is read
        pass
    os.close(leader)
    return seen
