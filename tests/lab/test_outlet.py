"""Standard output goes away, and nothing ends of it."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.outlet import Outlet, status_line
from tests import study_tools as tools


class Closed(io.StringIO):
    """What a terminal is that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        return True


def test_it_writes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    for outlet in (Outlet(stream), Outlet()):
        outlet.write("text")
        outlet.flush()
        assert not outlet.gone and not outlet.isatty()
    assert stream.getvalue() == "text" == capsys.readouterr().out


def test_what_fails_once_is_gone() -> None:
    outlet = Outlet(Closed())
    assert outlet.isatty()
    outlet.write("text")
    assert outlet.gone and not outlet.isatty()
    outlet.write("more")
    outlet.flush()


WRITES = """
import sys, time
from lab.outlet import Outlet, status_line

outlet = Outlet()
for _ in range(200):
    outlet.write("a line\\n")
    outlet.flush()
    time.sleep(0.005)
print("to nobody")
print(outlet.gone, file=sys.stderr)
"""


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES], cwd=tools.ROOT, env={**os.environ},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == "a line\n"
    process.stdout.close()
    assert process.stderr.read() == "True\n"
    assert process.wait(20) == 0, "and the interpreter has nothing to complain about at its end"


def test_a_status_line_takes_the_place_of_the_last_and_is_gone_in_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with status_line() as tell:
        tell("nobody is there")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "10")
    with status_line() as tell:
        tell("one")
        tell("longer than the line")
    assert capsys.readouterr() == ("", "\r\x1b[Kone\r\x1b[Klonger th\r\x1b[K")
