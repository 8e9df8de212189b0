"""Standard output goes away, and nothing ends of it."""

import errno
import io
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from lab.console.streams import LogStream, SafeStream, status_line
from tests import study_tools as tools


class Closed(io.StringIO):
    """What a terminal is that was closed."""

    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")

    def isatty(self) -> bool:
        return True


def test_it_writes_where_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    for outlet in (SafeStream(stream), SafeStream()):
        outlet.write("text")
        outlet.flush()
        assert not outlet.gone and not outlet.isatty()
    assert stream.getvalue() == "text" == capsys.readouterr().out


def test_what_fails_once_is_gone() -> None:
    outlet = SafeStream(Closed())
    assert outlet.isatty()
    outlet.write("text")
    assert outlet.gone and not outlet.isatty()
    outlet.write("more")
    outlet.flush()


WRITES = """
import sys, time
from lab.console.streams import SafeStream, status_line

outlet = SafeStream()
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


class Ascii(io.TextIOWrapper):
    """A stream that raises where it can't write a sign, as Python's do by default."""

    def __init__(self, encoding: str = "ascii") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, errors="strict", write_through=True)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"1/4 done - best >= 3 um, \\xe9 ...\n"),
        ("latin-1", b"1/4 done \xb7 best >= 3 \xb5m, \xe9 ...\n"),
        ("cp1252", b"1/4 done \xb7 best >= 3 \xb5m, \xe9 \x85\n"),
        ("utf-8", "1/4 done · best ≥ 3 µm, é …\n".encode()),
    ],
)
def test_other_signs_stand_in_for_what_cannot_be_written(encoding: str, expected: bytes) -> None:
    stream = Ascii(encoding)
    outlet = SafeStream(stream)
    print("1/4 done · best ≥ 3 µm, é …", file=outlet)  # type: ignore[arg-type]
    assert stream.bytes.getvalue() == expected and not outlet.gone


class Full(io.StringIO):
    """A file on a disk that is full for a while."""

    full = True

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


def test_a_full_disk_is_tried_again_and_remembered() -> None:
    stream = Full()
    outlet = SafeStream(stream)
    outlet.write("lost")
    stream.full = False
    outlet.write("shown")
    assert stream.getvalue() == "shown" and not outlet.gone
    assert outlet.failure is not None and outlet.failure.errno == errno.ENOSPC


def test_a_stream_that_is_closed_or_none_takes_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    closed = io.StringIO()
    closed.close()
    for outlet in (SafeStream(), SafeStream(closed)):
        outlet.write("text")
        outlet.flush()
        assert not outlet.live and outlet.failure is None


PRINTS = """
import sys, warnings
from lab.console import progress_bars, streams
from lab.console.redacted_output import redacted_output

with streams.standard_streams(), redacted_output():
    print("é · 3 ≥ 2")
    print("½ …", file=sys.stderr)
    warnings.warn("Warnung ±")
    with progress_bars.progress_bar(3, "image", shown=True) as bar:
        bar.update(3)
        bar.refresh()
    sys.stdout.writelines(["a\\n", "b\\n"])
    sys.exit(5)
"""


@pytest.fixture
def prints(tmp_path: Path) -> str:
    """The file of a program that prints much, and ends with 5."""
    (tmp_path / "prints.py").write_text(PRINTS, encoding="utf-8")
    return str(tmp_path / "prints.py")


def shell(command: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    """A command of bash, in which $PYTHON is this one."""
    env = {**os.environ, "PYTHONPATH": str(tools.ROOT), "PYTHON": sys.executable, **environment}
    return subprocess.run(["bash", "-c", command], env=env, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize(
    "closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", "| true"]
)
def test_the_exit_code_stays_whoever_listens(prints: str, closed: str) -> None:
    done = shell(f'"$PYTHON" "$PRINTS" {closed}; exit ${{PIPESTATUS[0]}}', PRINTS=prints)
    assert done.returncode == 5 and b"Traceback" not in done.stderr and b"Exception" not in done.stderr


def test_a_closed_stream_does_not_lend_its_number_to_a_file(tmp_path: Path) -> None:
    code = "import os\nfrom lab.console import streams as outlet\nwith outlet.standard_streams():\n"
    code += f"    file = open({str(tmp_path / 'file')!r}, 'w')\n    assert file.fileno() > 2, file.fileno()\n"
    code += "    os.write(1, b'from C')\n"
    assert shell('"$PYTHON" -c "$CODE" <&- >&- 2>&-', CODE=code).returncode == 0
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "ascii:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=str,
)
def test_standard_streams_of_ascii(prints: str, settings: dict[str, str]) -> None:
    done = shell('"$PYTHON" "$PRINTS"', PRINTS=prints, **settings)
    assert done.returncode == 5 and done.stdout.isascii() and done.stderr.isascii()
    assert done.stdout.startswith(b"\\xe9 - 3 >= 2\n") and done.stdout.endswith(b"a\nb\n")
    assert b"3/3 [" in done.stdout and b"|##" in done.stdout
    assert done.stderr.startswith(b"1/2 ...\n") and b"Warnung +-" in done.stderr


def test_lost_output_is_reported_where_it_was_the_result() -> None:
    done = shell('cd "$PYTHONPATH" && "$PYTHON" main.py --schema run > /dev/full')
    assert done.returncode == 1
    assert done.stderr == b"main.py: standard output: not all could be written: No space left on device\n"
    for end in ("| true; exit ${PIPESTATUS[0]}", ">&-"):
        done = shell(f'cd "$PYTHONPATH" && "$PYTHON" main.py --schema run {end}')
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_status_line_takes_the_place_of_the_last_and_is_gone_in_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with status_line() as tell:
        tell("nobody is there")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "10")
    with status_line() as tell:
        tell("one")
        tell("longer than the line")
    assert capsys.readouterr() == ("", "\r\x1b[Kone\r\x1b[Klonger th\r\x1b[K")


def test_a_long_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    """Lines of Python and of another program on the same file, 30 MB of them."""
    file, count = tmp_path / "console.log", 300_000
    with file.open("ab", buffering=0) as other, file.open("a", encoding="utf-8") as log:
        stream = LogStream(log)
        for number in range(count):
            stream.write(f"{number:>8} {'x' * 90}\n")
            if number % 50_000 == 0:
                stream.flush()
                other.write(b"from C\n")
        stream.flush()
        assert 2**22 < file.stat().st_size < 2**23 + 2**21
        other.write(b"the end\n")
    lines = file.read_text().splitlines()
    assert lines[:2] == [f"{0:>8} {'x' * 90}", "from C"] and lines[-1] == "the end"
    numbers = [int(line.split()[0]) for line in lines if line.endswith("xx")]
    assert numbers == sorted(numbers) and all(len(line) == 99 for line in lines if line.endswith("xx"))
    (gap,) = [n for n, (a, b) in enumerate(pairwise(numbers)) if b != a + 1]
    assert gap > 10_000 and numbers[-1] == count - 1 and len(numbers) - gap > 40_000
    assert any(re.fullmatch(r"\[\.\.\. [\d,]+ bytes are left out here \.\.\.\]", line) for line in lines)


def test_a_log_that_is_not_long_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "console.log"
    with file.open("a", encoding="utf-8") as log:
        stream = LogStream(log)
        for _ in range(7):
            stream.write("y" * (2**20 - 1) + "\n")
        stream.flush()
    assert file.read_text() == ("y" * (2**20 - 1) + "\n") * 7
