"""Import paths: what they find, and what is said where they find nothing."""

import collections
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.config import ConfigError
from lab.config.import_policy import PLACES
from lab.config.import_target import is_library, resolve
from lab.metrics import Dice

Write = Callable[[str], str]


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(name)
    assert [problem.path for problem in caught.value.problems] == [("target",)]
    return caught.value.problems[0].message


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("torch.nn.Linear", torch.nn.Linear),
        ("torch.optim.lr_scheduler.OneCycleLR", torch.optim.lr_scheduler.OneCycleLR),
        ("torch.nn.functional.mse_loss", torch.nn.functional.mse_loss),
        ("lab.metrics.Dice", Dice),
        ("lab.metrics.segmentation.Dice", Dice),
        ("collections.Counter.fromkeys", collections.Counter.fromkeys),
    ],
)
def test_finds_classes_and_functions(name: str, found: object) -> None:
    assert resolve(name) == found


def test_finds_a_module_of_a_package_that_nobody_imported(tmp_path: Path, mine: Write) -> None:
    name = mine("")
    package = tmp_path / f"{name}_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "part.py").write_text("def make(): return 3")
    assert resolve(f"{name}_package.part.make")() == 3
    assert refused(f"{name}_package.pert.make") == f"'{name}_package' has no 'pert'; did you mean 'part'?"


def test_finds_the_users_own_module(mine: Write) -> None:
    name = mine("class Net:\n    class Inner: pass\n")
    assert resolve(f"{name}.Net").__name__ == "Net"
    assert resolve(f"{name}.Net.Inner").__name__ == "Inner"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "torhc.nn.Linear",
            f"there is no module 'torhc' {PLACES}; did you mean 'torch'?",
        ),
        ("qzqzqz.Net", f"there is no module 'qzqzqz' {PLACES}"),
        ("torch.nnn.Linear", "'torch' has no 'nnn'; did you mean 'nn'?"),
        ("torch.nn.Liner", "'torch.nn' has no 'Liner'; did you mean 'Linear'?"),
        ("lab.metric.Dice", "'lab' has no 'metric'; did you mean 'metrics'?"),
        ("torch.nn.Linear.qzqzqz", "'torch.nn.Linear' has no 'qzqzqz'"),
        ("math.pi", "'math.pi' is a float; a class or a function is expected"),
        ("torch.nn", "'torch.nn' is a module; a class or a function is expected"),
    ],
)
def test_says_what_is_missing(name: str, message: str) -> None:
    assert refused(name) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import os\n\nclass Net(:\n", r"SyntaxError: invalid syntax \(NAME.py, line 3\)"),
        ("import os\n\nprint(undefined)\n", r"NameError: name 'undefined' is not defined \(NAME.py:3\)"),
        (
            "import os\nimport qzqzqz\n",
            r"ModuleNotFoundError: No module named 'qzqzqz' \(NAME.py:2\)",
        ),
        ("def f():\n    return 1 / 0\nf()\n", r"ZeroDivisionError: division by zero \(NAME.py:2\)"),
        ("import sys\nsys.exit('bye')\n", r"SystemExit: bye \(NAME.py:2\)"),
        ("import torch\ntorch.zeros(2, dtype='x')\n", r"TypeError: .* \(NAME.py:2\)"),
    ],
)
def test_a_module_that_fails_tells_its_cause_and_line(mine: Write, source: str, message: str) -> None:
    name = mine(source)
    said = refused(f"{name}.Net")
    assert re.fullmatch(f"importing '{name}' failed: {message.replace('NAME', name)}", said, re.DOTALL), said


def test_ctrl_c_while_importing_is_no_mistake_in_the_config(mine: Write) -> None:
    name = mine("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        resolve(f"{name}.Net")


def test_a_package_whose_parts_fail_when_asked_for(mine: Write) -> None:
    name = mine("def __getattr__(name):\n    raise RuntimeError('no driver')\n")
    assert refused(f"{name}.Net") == f"importing '{name}.Net' failed: RuntimeError: no driver ({name}.py:2)"


def test_tells_libraries_from_the_users_code(mine: Write) -> None:
    name = mine("from torch.nn import Linear\ndef f(): pass\n")
    assert is_library(torch.nn.Linear)
    assert is_library(collections.Counter)
    assert is_library(len)
    assert is_library(resolve(f"{name}.Linear"))
    assert not is_library(resolve(f"{name}.f"))
    assert not is_library(Dice)
    assert name in sys.modules


def test_the_collector_pauses_for_an_import_alone(mine: Write) -> None:
    name = mine("import gc\nclass Net: was = gc.isenabled()\n")
    assert gc.isenabled()
    assert not resolve(f"{name}.Net").was  # type: ignore[attr-defined]
    assert gc.isenabled()
    with pytest.raises(ConfigError):
        resolve(f"{mine('1 / 0')}.Net")
    assert gc.isenabled()
