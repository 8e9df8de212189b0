"""The shape of the project: imports point down, files and functions stay small, `util` names three things."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_FILE, MAX_TEST_FILE, MAX_FUNCTION = 400, 500, 60
LONGER = {"util.py": 450}  # the loop, from building to the snapshot within an epoch, stays in one view

# Imports lead to a strictly lower rank, or stay within the same part.
RANKS = {
    7: ["main"],
    6: ["lab.dashboard", "selftest"],
    5: ["lab.hpo"],
    4: ["util", "lab.inference", "lab.preflight", "lab.report"],
    3: ["lab.accumulation", "lab.callbacks", "lab.evaluation", "lab.hints", "lab.inventory", "lab.rehearsal",
        "lab.resume", "lab.run_events", "lab.run_outcome", "lab.run_record"],
    2: ["lab.checkpoint", "lab.data", "lab.epoch_cursor", "lab.first_batch", "lab.forgetting",
        "lab.run_context", "lab.tasks", "lab.trackers"],
    1: ["lab.bars", "lab.components", "lab.figures", "lab.findings", "lab.graph_loss", "lab.losses",
        "lab.meaning", "lab.metrics", "lab.modes", "lab.monitoring", "lab.provenance", "lab.ratios",
        "lab.reach", "lab.record", "lab.refusal", "lab.runtime", "lab.seeding", "lab.signals", "lab.targets",
        "lab.tiling"],
    0: ["lab.changed_settings", "lab.command_line", "lab.config", "lab.definitions", "lab.epoch_loader",
        "lab.events", "lab.graphs", "lab.keys", "lab.outlet", "lab.remarks", "lab.rundir", "lab.smp_terms",
        "lab.terms", "lab.wording", "model"],
    -1: ["lab.commands", "lab.dataset_info", "lab.group_rule", "lab.held", "lab.import_aliases",
         "lab.infeasible", "lab.nested", "lab.paths", "lab.redact", "lab.signs", "lab.state",
         "lab.torch_losses"],
    -2: ["lab.labels"],
}  # fmt: skip
RANK = {part: rank for rank, parts in RANKS.items() for part in parts}
SOURCES = sorted([*ROOT.glob("*.py"), *(ROOT / "lab").rglob("*.py"), *(ROOT / "selftest").rglob("*.py")])
OTHERS = sorted(
    path for folder in ("tests", "benchmarks", "environments") for path in (ROOT / folder).rglob("*.py")
)


def part_of(path: Path) -> str:
    """`lab.config` for lab/config/run.py, `util` for util.py."""
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:2] if names[0] == "lab" else names[:1])


def imported(tree: ast.AST) -> Iterator[str]:
    """The project's parts that a file imports, wherever in it; not those for type checkers only."""
    if isinstance(tree, ast.If) and "TYPE_CHECKING" in ast.unparse(tree.test):
        return
    if isinstance(tree, ast.Import):
        names = [alias.name for alias in tree.names]
    elif isinstance(tree, ast.ImportFrom):
        assert tree.level == 0, "imports are absolute"
        names = [f"{tree.module}.{alias.name}" for alias in tree.names]
    else:
        names = []
    for name in names:
        parts = name.split(".")
        if parts[0] in ("lab", "main", "util", "model", "selftest"):
            yield ".".join(parts[:2] if parts[0] == "lab" else parts[:1])
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_every_file_has_a_layer_and_imports_point_down(path: Path) -> None:
    found = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    if path == ROOT / "lab" / "__init__.py":
        assert found == {"lab.import_aliases", "lab.infeasible"}, (
            "what users import from lab itself, and nothing slow"
        )
        return
    part = part_of(path)
    assert part in RANK, f"{part} is in no layer: add it to RANKS"
    upward = {other for other in found - {part} if RANK.get(other, 99) >= RANK[part]}
    assert not upward, f"{part} (rank {RANK[part]}) may not import {upward}"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if "lab" in path.relative_to(ROOT).parts], ids=name
)
def test_lab_knows_nothing_of_the_three_files_and_the_self_test(path: Path) -> None:
    assert not {"main", "util", "model", "selftest"} & set(
        imported(ast.parse(path.read_text(encoding="utf-8")))
    )


@pytest.mark.parametrize("path", [*SOURCES, *OTHERS], ids=name)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    usual = MAX_TEST_FILE if "tests" in path.relative_to(ROOT).parts else MAX_FILE
    assert text.count("\n") <= LONGER.get(name(path), usual)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < MAX_FUNCTION, f"{node.name} is too long"


def test_every_layer_stands_for_something() -> None:
    assert set(RANK) == {part_of(path) for path in SOURCES} - {"lab.__init__"}


def test_the_rules_see_what_they_forbid() -> None:
    source = "from lab import rundir\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import main\n"
    source += "def f():\n    import util\n    from lab.data.loaders import Loader\n"
    assert list(imported(ast.parse(source))) == ["lab.rundir", "util", "lab.data"]
    assert part_of(ROOT / "lab" / "config" / "run.py") == "lab.config"
    assert part_of(ROOT / "lab" / "events.py") == "lab.events"


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
