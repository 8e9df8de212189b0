"""The YAML files that ship, each found where it lies, and the schema that editors check them by."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lab.config import RunConfig, config_file, is_study

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "configs"
SCHEMA = FOLDER / "schema" / "run.schema.json"
FILES = sorted(FOLDER.rglob("*.yaml"))
RUNS = [path for path in FILES if not is_study(config_file.read(path))]


def name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def given(path: Path) -> list[str]:
    """What a user has to say on the command line."""
    root = config_file.read(path).data["data"].get("root", ...)
    return ["data.root=somewhere"] if root is None else []


def valid(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is as the schema says; knows just what our schema is made of."""
    schema = {**resolved(schema), **{key: item for key, item in schema.items() if key != "$ref"}}
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "null": type(None),
        "integer": int,
    }
    kind = schema.get("type")
    if "anyOf" in schema and not any(valid(value, option) for option in schema["anyOf"]):
        return False
    if kind == "number":
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    else:
        fits = kind is None or (
            isinstance(value, kinds[kind]) and (kind == "boolean") == isinstance(value, bool)
        )
    if not fits or ("enum" in schema and value not in schema["enum"]) or value != schema.get("const", value):
        return False
    if isinstance(value, str):
        return re.search(schema.get("pattern", ""), value) is not None
    if isinstance(value, list):
        return all(valid(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        if not set(schema.get("required", ())) <= value.keys():
            return False
        return all(
            valid(item, known[key]) if key in known else valid(item, rest) if isinstance(rest, dict) else rest
            for key, item in value.items()
        )
    return bool(schema.get("minimum", value) <= value) if isinstance(value, (int, float)) else True


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    found = schema.get("$ref", "").removeprefix("#/$defs/")
    return dict(shipped()["$defs"][found]) if found else schema


def shipped() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return schema


def test_configs_ship() -> None:
    assert {"run.yaml", "digits.yaml", "nuclei.yaml", "regression.yaml"} <= {name(path) for path in FILES}


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_it_passes_its_check(path: Path) -> None:
    RunConfig.from_yaml(path, given(path)).check()


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_it_is_read_back_equal(path: Path, tmp_path: Path) -> None:
    config = RunConfig.from_yaml(path, given(path))
    file = tmp_path / "resolved.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert RunConfig.from_yaml(file) == config


@pytest.mark.parametrize("path", FILES, ids=name)
def test_its_header_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for word in ("What:", "Command:", "Cost:", "Expected:"):
        assert re.search(rf"^# {word}", text, re.MULTILINE), f"no '# {word}' in the header"
    assert f"configs/{name(path)}" in text


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_its_components_are_built(path: Path) -> None:
    config = RunConfig.from_yaml(path, given(path))
    facts = {"in_channels": 1, "classes": ["background", "cell"], "sequences": {"a": 0}}
    facts |= {"objects": ["person", "cup"], "relations": {"contact": ["holding"]}, "features": 4}
    facts |= {"exclusive": [], "dataset": "action_genome", "class_weights": [1.0, 1.0]}
    model = config.create_model(facts)
    optimizer = config.create_optimizer(model)
    scheduler = config.create_scheduler(optimizer, steps_per_epoch=3)
    assert (scheduler is None) == (config.scheduler is None)
    assert callable(config.create_criterion(facts))
    assert config.create_metrics(facts).keys() == config.metrics.keys()
    config.create_task(facts)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert shipped() == RunConfig.model_json_schema(), (
        "run: python main.py --schema run > configs/schema/run.schema.json"
    )


@pytest.mark.parametrize("path", RUNS, ids=name)
def test_editors_find_it_valid(path: Path) -> None:
    data = config_file.read(path).data
    assert valid(data, shipped())
    assert valid(RunConfig.from_yaml(path).as_data(), shipped())
    assert not valid({**data, "epoch": 3}, shipped())


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("net", ["model.MLP", {"target": "model.MLP", "x": [1]}], ["MLP", {"x": 1}, 3, None]),
        (
            "scheduler",
            [None, "a.B", {"target": "a.B", "interval": "step"}],
            [{"target": "a.B", "interval": "x"}],
        ),
        ("seeds", [3, [1, 2]], ["a", [-1], True]),
        (
            "monitor",
            [
                "val_loss",
                {"metric": "val_loss", "also": ["a", {"metric": "b", "mode": "max"}]},
                ["a", {"metric": "b", "mode": "min"}],
            ],
            [{"metrik": "a"}, {"mode": "mid"}, [{"metrik": "a"}], {"also": [{}]}, 3],
        ),
        ("metrics", [{}, {"a": "b.C"}], [{"a": "C"}, []]),
        ("precision", ["fp32", "bf16"], ["fp64"]),
        ("compile", [True, "inductor"], [3]),
        ("epochs", [1], [0, "1", None, True]),
        (
            "trackers",
            [[], ["wandb", "a.B", {"type": "wandb", "mode": "auto"}, {"target": "a.B", "x": 1}]],
            [["csv"], [{"type": "csv"}], [{"type": "wandb", "mod": "auto"}], "wandb"],
        ),
    ],
)
def test_the_schema_knows_good_from_bad(key: str, good: list[Any], bad: list[Any]) -> None:
    base = {"data": "a.B", "net": "a.B"}
    assert [value for value in good if not valid({**base, key: value}, shipped())] == []
    assert [value for value in bad if valid({**base, key: value}, shipped())] == []


def test_the_schema_describes_every_key() -> None:
    schema = shipped()
    assert list(schema["properties"]) == list(RunConfig.model_fields)
    assert schema["required"] == ["data", "net"]
    sections = {"run": schema, **schema["$defs"]}
    undescribed = [
        f"{section}.{key}"
        for section, part in sections.items()
        for key, item in part.get("properties", {}).items()
        if not item.get("description") and "const" not in item
    ]
    assert undescribed == []
