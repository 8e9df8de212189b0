import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("version", "code"), [((3, 10, 9), 2), ((3, 11, 0), 2), ((3, 11, 1), 0), ((3, 14, 0), 0)]
)
def test_an_older_python_is_refused_by_name(version: tuple[int, ...], code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.version_info = {version}; import lab"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == code
    expected = f"needs Python 3.11.1 or later; {sys.executable} is {'.'.join(map(str, version))}."
    assert (expected in done.stderr) is (code == 2) and "Traceback" not in done.stderr
