"""Imported last by the trials' server: what it holds by then is kept out of garbage collection.

A forked trial shares the server's memory until one of them writes to it, and a collection writes to every
object it looks at: without this each trial would copy a hundred megabytes that it only reads.
"""

import atexit
import gc

gc.collect()
gc.freeze()
atexit.register(gc.unfreeze)  # or libraries would complain, at the server's end, of what nobody put away
