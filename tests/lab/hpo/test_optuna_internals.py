"""Private names of Optuna are in one file."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ALLOWED = ROOT / "lab" / "hpo" / "optuna_internals.py"
SOURCES = [*(ROOT / "lab").rglob("*.py"), *(ROOT / "selftest").rglob("*.py"), *ROOT.glob("*.py")]
# Attributes of studies, trials and storages; such names of an object of one's own are reached by `self`.
PRIVATE = re.compile(r"_(study_id|storage|trial_id|thread_local|cached_all_trials|backend|set_trial_\w+)")


def private_names(path: Path) -> list[str]:
    """The private names of Optuna that a file imports or reads from another object than `self`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            found += [name for name in names if name.startswith("_")]
        elif isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            found += [] if own else [node.attr]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_uses_private_names_of_optuna(path: Path) -> None:
    assert bool(private_names(path)) == (path == ALLOWED)
