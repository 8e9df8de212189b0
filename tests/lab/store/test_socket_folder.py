"""Processes whose TMPDIR is longer than the path of a socket may be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import os, sys, tempfile
from multiprocessing import get_context
from lab.store import socket_folder

def send(connection):
    connection.send("there")

if __name__ == "__main__":
    if sys.argv[1] == "shorten":
        socket_folder.shorten()
    ours, theirs = get_context("forkserver").Pipe()
    get_context("forkserver").Process(target=send, args=(theirs,)).start()
    print(ours.recv(), tempfile.gettempdir() == os.environ["TMPDIR"])
"""


@pytest.mark.parametrize(("argument", "code", "out"), [("shorten", 0, "there True\n"), ("leave", 1, "")])
def test_processes_start_where_tmpdir_is_long(tmp_path: Path, argument: str, code: int, out: str) -> None:
    place = tmp_path / ("d" * 100)
    place.mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, "program.py", argument],
        cwd=tmp_path, env={**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (code, out), ran.stderr
    assert ("AF_UNIX path too long" in ran.stderr) == (argument == "leave")
    left = [path.name for path in place.iterdir()]
    assert left == [] or argument == "leave"
