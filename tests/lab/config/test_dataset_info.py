"""Facts as fields: the names are those that checkpoints hold, and a user's own keys do no harm."""

import ast
from dataclasses import fields

import pytest

from lab.config.dataset_info import DECISIVE, MEASURED, SCENE_GRAPH, DatasetInfo
from lab.config.mask_values import Auto
from tests.conftest import ROOT

NAMES = {each.name for each in fields(DatasetInfo)}


def test_facts_are_the_fields_that_are_declared() -> None:
    facts = {"classes": ["a", "b"], "background": None, "exclusive": [], "features": 0, "mean": [0.5]}
    assert DatasetInfo.from_facts({**facts, "words": 20, 3: "own"}).to_facts() == facts
    assert DatasetInfo().to_facts() == {}
    assert DatasetInfo.from_facts({"counts": {"train": 3}}).counts == {"train": 3}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Auto.AUTO),
        ({"classes": 3}, Auto.AUTO),
        ({"classes": ["cell", "Background"]}, 1),
        ({"classes": ["cell", "debris"]}, None),
        ({"classes": ["cell", "debris"], "background": "debris"}, 1),
        ({"classes": ["background", "cell"], "background": None}, None),
    ],
)
def test_the_background_is_an_index(facts: dict[str, object], expected: object) -> None:
    assert DatasetInfo.from_facts(facts).background_class == expected


def test_a_background_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no class 'void' among cell, debris"):
        _ = DatasetInfo(classes=["cell", "debris"], background="void").background_class


def test_groups_of_names_are_fields() -> None:
    assert {*DECISIVE, *MEASURED, *SCENE_GRAPH} <= NAMES


def test_no_module_reads_a_fact_by_a_literal_key() -> None:
    """As `facts["classes"]` or `facts.get("classes")`, where a misspelt key would be a silent None."""
    found = []
    for path in [ROOT / "util.py", ROOT / "main.py", *(ROOT / "lab").rglob("*.py")]:
        if path.is_relative_to(ROOT / "lab" / "hpo"):  # there facts are a trial's
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            key: ast.expr | None = None
            if isinstance(node, ast.Subscript):
                owner, key = node.value, node.slice
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                owner, key = node.func.value, node.args[0] if node.func.attr == "get" else None
            if isinstance(key, ast.Constant) and ast.unparse(owner).rpartition(".")[2] == "facts":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
