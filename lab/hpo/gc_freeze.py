"""Imported last by the trials' server: what it holds by then is kept out of garbage collection.

A forked trial shares the server's memory until one of them writes to it, and a collection writes to every
object it looks at: without this each trial would copy a hundred megabytes that it only reads.

The server ends when its command does. It has nothing to put away, and Python would take a second for what
torch has made, in which whoever reads the command's output still waits.

The server was started with PYTHONSAFEPATH; what a trial starts as a program of its own should not be.
"""

import atexit
import gc
import os
import sys
from typing import TextIO, cast

from lab.console.streams import SafeStream

# What a user's module prints while it is imported must end nothing, whatever the console can write.
sys.stdout, sys.stderr = cast(TextIO, SafeStream(sys.stdout)), cast(TextIO, SafeStream(sys.stderr))
os.environ.pop("PYTHONSAFEPATH", None)
gc.collect()
gc.freeze()
atexit.register(os._exit, 0)
