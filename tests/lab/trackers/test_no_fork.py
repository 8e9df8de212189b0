import os
import signal
import sys
import time
from threading import Event, Thread

import pytest

from lab.trackers.background_tracker import no_fork


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_waits_for_the_import() -> None:
    inside, left = Event(), list[float]()

    def slow_import() -> None:
        with no_fork:
            inside.set()
            time.sleep(0.3)
            left.append(time.monotonic())

    thread = Thread(target=slow_import)
    thread.start()
    inside.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(5)  # rather than hang
        with no_fork:  # the child holds nothing that hinders it
            os._exit(0)
    assert left and left[0] <= time.monotonic()
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
