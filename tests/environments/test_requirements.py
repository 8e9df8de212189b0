from importlib import metadata
from pathlib import Path

import pytest

from environments.installed import FREE, constraints, needed_by_torch
from environments.requirements import ALL, CONSTRAINTS, extras, lines, lowest, named


@pytest.mark.parametrize(
    ("line", "name", "pin"),
    [
        ("numpy>=1.26,<3", "numpy", "numpy==1.26"),
        ("albumentations==2.0.8", "albumentations", "albumentations==2.0.8"),
        ("psycopg[binary]>=3.2.1", "psycopg", "psycopg[binary]==3.2.1"),
        ("types_PyYAML >= 6.0.12", "types-pyyaml", "types_PyYAML==6.0.12"),
        ("optuna-dashboard>=0.21,<0.22", "optuna-dashboard", "optuna-dashboard==0.21"),
    ],
)  # fmt: skip
def test_names_and_lowest_versions(line: str, name: str, pin: str) -> None:
    assert (named(line), lowest(line)) == (name, pin)


def test_extras_and_missing_bounds() -> None:
    assert extras("cuda-toolkit[cublas, cu_dart]==13") == ["cublas", "cu-dart"] and extras("numpy>=1") == []
    with pytest.raises(ValueError, match="'tqdm' has no lower bound"):
        lowest("tqdm")


def test_included_files_are_read_and_options_are_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("# two\n-c c.txt\ntorch>=2.11  # the subject\n\nnumpy>=1\n")
    (tmp_path / "b.txt").write_text("-r a.txt\n-c c.txt\npytest>=8\n")
    assert list(lines(tmp_path / "b.txt")) == ["torch>=2.11", "numpy>=1", "pytest>=8"]


def test_every_requirement_has_a_tested_version() -> None:
    """Where this fails, a requirement came without `make upgrade`."""
    held = dict(line.split("==") for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#"))
    ours = {named(line) for line in lines()}
    assert ours >= FREE and ours - FREE <= held.keys() and not FREE & held.keys()
    assert all(lowest(line) for line in lines())
    for path in (ALL, ALL.with_name("requirements.txt")):
        assert "-c constraints.txt" in path.read_text().splitlines()


def test_torch_and_what_it_needs_are_left_to_the_machine() -> None:
    ours = {named(line) for line in lines()} - FREE
    free = needed_by_torch(ours)
    assert {"torch", "sympy", "mpmath", "filelock", "typing-extensions"} <= free
    assert not free & {"numpy", "jinja2", "pillow", "pydantic", "markupsafe"}
    held = dict(line.split("==") for line in constraints())
    assert held["numpy"] == metadata.version("numpy") and held["pyyaml"] == metadata.version("PyYAML")
    assert not held.keys() & (free | FREE) and not [name for name in held if name.startswith("nvidia")]
