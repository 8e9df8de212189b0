"""`os._exit(0)` in a module does not pass for success."""

import os
import subprocess
import sys

import pytest

from lab.console.silent_exits import silent_exits_fail
from tests import study_tools as tools

ENDS = """
import os, sys, main

def act(options, command):
    if os.fork() == 0:
        os._exit(0)
    print("child", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    os._exit({status})

main.act = act
main.main(["--list"])
"""


@pytest.mark.parametrize(("status", "code"), [(0, 1), (3, 3)])
def test_the_command_fails_where_a_module_ends_its_process(status: int, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS.format(status=status)],
        cwd=tools.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    message = "main.py: os._exit(0) was called before the command was done\n" if status == 0 else ""
    assert (done.returncode, done.stdout, done.stderr) == (code, "child 0\n", message)


def test_the_function_is_put_back() -> None:
    before = os._exit
    with silent_exits_fail():
        assert os._exit is not before
    assert os._exit is before
