"""The shape of the project: imports point down, few entries at the top, files of a fair size."""

import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Imports lead to a part further down, or stay within the same part.
LAYERS = [
    ["main"],
    ["selftest"],
    ["lab.hpo"],
    ["lab.report"],
    ["util", "lab.evaluate"],
    ["lab.predict"],
    ["lab.train"],
    ["lab.tasks"],
    ["lab.figures"],
    ["lab.checkpoint", "lab.data", "lab.metrics"],
    ["lab.losses", "lab.provenance", "lab.state", "lab.trackers"],
    ["lab.graphs"],
    ["lab.config", "lab.console"],
    ["lab.errors", "lab.events", "lab.import_aliases", "lab.rng", "lab.store", "model"],
]
LEVEL = {part: level for level, parts in enumerate(reversed(LAYERS)) for part in parts}
MOST_ENTRIES = 25  # at the top of lab/

# Sizes are percentiles: a long file or function is fine where splitting it would hide something.
FILE_P90, FUNCTION_P90 = 300, 25
LONG_FILE, LONG_FUNCTION = 400, 60
LONG_FILES = {  # by name, with the reason
    "util.py": "the loop with its snapshot, and all that a run builds in its order",
}
LONG_FUNCTIONS: dict[str, str] = {}

SOURCES = sorted([*ROOT.glob("*.py"), *(ROOT / "lab").rglob("*.py"), *(ROOT / "selftest").rglob("*.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def module_of(path: Path) -> str:
    """`lab.config.run_config` for lab/config/run_config.py, `lab.config` for lab/config/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in SOURCES}


def part_of(module: str) -> str:
    """`lab.config` for lab.config.run_config, `selftest` for selftest.suite."""
    names = module.split(".")
    return ".".join(names[:2] if names[0] == "lab" else names[:1])


def imported(tree: ast.AST, modules: set[str]) -> Iterator[str]:
    """Modules of the project that a file imports: anywhere in it, and for type checkers, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                names = (f"{node.module}.{alias.name}", str(node.module))
                yield from [name for name in names if name in modules][:1]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_imports_point_down(path: Path) -> None:
    found = set(imported(parsed(path), set(MODULES)))
    if path == ROOT / "lab" / "__init__.py":
        assert found <= {"lab.errors", "lab.import_aliases"}, "nothing that is slow to import"
        return
    part = part_of(module_of(path))
    assert part in LEVEL, f"{part} is in no layer: add it to LAYERS"
    upward = {other for other in found if part_of(other) != part and LEVEL[part_of(other)] >= LEVEL[part]}
    assert not upward, f"{part} may not import {upward}"


def test_no_two_files_import_each_other_in_a_circle() -> None:
    graph = {module: set(imported(parsed(path), set(MODULES))) - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")


def test_lab_does_not_import_the_three_files() -> None:
    for module, path in MODULES.items():
        if module.startswith("lab"):
            assert not {"main", "util", "model", "selftest"} & {
                part_of(other) for other in imported(parsed(path), set(MODULES))
            }, module


def test_the_top_of_lab_is_short() -> None:
    entries = {part_of(module) for module in MODULES} - {"lab"}
    assert set(LEVEL) == entries
    assert len([entry for entry in entries if entry.startswith("lab.")]) <= MOST_ENTRIES


def test_most_files_and_functions_are_small() -> None:
    files = {name(path): lines(path) for path in SOURCES}
    lengths = {f"{name(path)}:{each}": length for path in SOURCES for each, length in functions(path)}
    assert statistics.quantiles(files.values(), n=10)[-1] <= FILE_P90
    assert statistics.quantiles(lengths.values(), n=10)[-1] <= FUNCTION_P90
    assert {each for each, length in files.items() if length > LONG_FILE} == set(LONG_FILES)
    assert {each for each, length in lengths.items() if length > LONG_FUNCTION} == set(LONG_FUNCTIONS)
    assert statistics.quantiles(map(lines, TESTS), n=10)[-1] <= LONG_FILE


def test_the_rules_see_what_they_forbid() -> None:
    source = "from lab.store import run_folder\nfrom typing import TYPE_CHECKING\n"
    source += "if TYPE_CHECKING:\n    import main\n"
    source += "def f():\n    import util\n    from lab.data.loaders import Loader\n"
    assert set(imported(ast.parse(source), set(MODULES))) == {
        "lab.store.run_folder", "main", "util", "lab.data.loaders",
    }  # fmt: skip
    assert part_of(module_of(ROOT / "lab" / "config" / "run_config.py")) == "lab.config"
    assert part_of(module_of(ROOT / "lab" / "events.py")) == "lab.events"


def test_util_names_three_things() -> None:
    tree = ast.parse((ROOT / "util.py").read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    assert {public for public in defined if not public.startswith("_")} == {"EarlyStopping", "Trainer", "run"}
    import util

    assert util.__all__ == ["EarlyStopping", "Trainer", "run"]


def test_the_config_never_imports_torch() -> None:
    code = "import sys, lab.config, main; print({'torch', 'numpy', 'util'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("none\n", "")
