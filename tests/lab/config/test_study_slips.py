"""Any slip of the hand in a study's file is a sound study or told with its place, and never a traceback."""

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lab.config import ConfigError, OptimizeConfig, config_file
from lab.config.yaml_writer import to_text
from tests.lab.config.conftest import RUN, STUDY

VALUES = [
    "null",
    "true",
    "-1",
    "0",
    "2.5",
    ".nan",
    ".inf",
    "text",
    "'1'",
    "[]",
    "[1, x]",
    "{}",
    "{a: 1}",
    "a.B",
]
VALUES += [
    "1e400",
    "&a [*a]",
    "!x 1",
    "'",
    "[",
    "{target: 3}",
    "model.MLP",
    "{choices: []}",
    "{choices: [1, 1]}",
]
VALUES += [
    "{type: int, low: 1}",
    "{type: float, low: 0, high: 1, log: true}",
    "run.yaml",
    "opt.yaml",
    "nope.yaml",
]


def check(folder: Path, study: str, run: str = RUN, overrides: list[str] | None = None) -> list[str]:
    """What is found, each thing with a place that is there; nothing where the study is sound."""
    (folder / "opt.yaml").write_text(study)
    (folder / "run.yaml").write_text(run)
    lines = {"opt.yaml": study.count("\n") + 1, "run.yaml": run.count("\n") + 1}
    try:
        config = OptimizeConfig.from_yaml(folder / "opt.yaml", overrides)
        config.check()
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.message and "input_value" not in problem.message, "pydantic's own words"
            if problem.where in [f"--set {override}" for override in overrides or []]:
                continue
            file, _, line = problem.where.removeprefix(f"{folder}/").rpartition(":")
            assert file in lines, problem
            assert 1 <= int(line) <= lines[file], problem
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    assert (
        OptimizeConfig.from_document(config_file.parse(config.to_yaml(), "again.yaml")).as_data()
        == config.as_data()
    )
    for corner in config.space.extremes():
        assert config.space.from_params(config.space.to_params(corner.values)) == corner.values
    assert config.total >= 1
    return []


def mutated(text: str, draw: random.Random) -> str:
    """A sound file with a slip of the hand in one to three places."""
    lines = text.splitlines()
    for _ in range(draw.randint(1, 3)):
        index = draw.randrange(len(lines))
        line = lines[index]
        match draw.randrange(8):
            case 0:  # a typo
                at = draw.randrange(len(line) + 1)
                lines[index] = line[:at] + draw.choice("abz:_- 0.") + line[at + draw.randint(0, 1) :]
            case 1:  # another value
                lines[index] = f"{line.partition(':')[0]}: {draw.choice(VALUES)}"
            case 2:
                lines.insert(index, line)
            case 3:
                del lines[index]
            case 4:  # two letters change places
                at = draw.randrange(max(len(line) - 1, 1))
                lines[index] = line[:at] + line[at : at + 2][::-1] + line[at + 2 :]
            case 5:  # another indent
                lines[index] = draw.choice([" ", "   ", "\t"]) + line
            case 6:  # another value within a mapping
                lines[index] = re.sub(
                    r"(?<=: )[\w.-]+(?=[,}])", lambda _: draw.choice(VALUES[:14]), line, count=1
                )
            case _:  # two lines change places
                other = draw.randrange(len(lines))
                lines[index], lines[other] = lines[other], lines[index]
        lines = lines or [""]
    return "\n".join(lines) + "\n"


fast = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_the_examples_are_sound(tmp_path: Path) -> None:
    assert check(tmp_path, STUDY) == []


@settings(fast, max_examples=300)
@given(st.randoms(use_true_random=False))
def test_a_slip_in_the_study(tmp_path: Path, draw: random.Random) -> None:
    check(tmp_path, mutated(STUDY, draw))


@settings(fast, max_examples=100)
@given(st.randoms(use_true_random=False))
def test_a_slip_in_its_run(tmp_path: Path, draw: random.Random) -> None:
    check(tmp_path, STUDY, mutated(RUN, draw))


KEYS = (
    "n_trials run run.epochs set set.net.width sampler sampler.target search_space search_space.optimizer.lr"
)
KEYS += (
    " search_space.optimizer.lr.high search_space.optimizer.choices.0 search_space.optimizer.lr.when monitor"
)
KEYS += (
    " run.monitor run.monitor.also search_space.net.layers.low search_space.batch_size.choices pruner devices"
)
paths = st.sampled_from(KEYS.split()) | st.text("abr.'=0 ", max_size=6)


@settings(fast, max_examples=150)
@given(st.lists(st.tuples(paths, st.sampled_from(VALUES)), min_size=1, max_size=3))
def test_a_slip_behind_set(tmp_path: Path, assignments: list[tuple[str, str]]) -> None:
    check(tmp_path, STUDY, RUN, [f"{path}={value}" for path, value in assignments])


plain = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.5, 1e-3, "a.B", "x", "run.yaml", "cpu"])
)
plain |= st.sampled_from(
    ["torch.optim.SGD", "optuna.samplers.GridSampler", "optuna.pruners.NopPruner", "val_loss"]
)
names = st.sampled_from(
    ["optimizer", "optimizer.lr", "net.width", "target", "type", "low", "high", "choices", 3]
)
nested = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@settings(fast, max_examples=200)
@given(st.dictionaries(st.sampled_from(sorted(OptimizeConfig.model_fields)), nested, max_size=6))
def test_any_mapping_is_sound_or_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    sound = config_file.parse(STUDY, "opt.yaml").data
    check(tmp_path, to_text({**sound, **changes}))


parameters = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["int", "float", "categorical", "flaot"]),
        "low": st.integers(-1, 3) | st.sampled_from([0.1, 1e-4, "x"]),
        "high": st.integers(-1, 3) | st.sampled_from([0.1, 1.5, None]),
        "step": st.sampled_from([1, 2, 0, 0.1, 0.3, -1]),
        "log": st.booleans(),
        "choices": st.lists(
            st.integers(0, 2) | st.sampled_from(["fp32", {"target": "torch.optim.SGD"}]), max_size=3
        ),
        "when": st.dictionaries(
            st.sampled_from(["optimizer.target", "optimizer", "net.layers", "nett.layers", "batch_size"]),
            st.sampled_from(["torch.optim.SGD", "torch.optim.SDG", 1, [1, 2], 8, [], {"a": 1}]),
            max_size=2,
        ),
    },
)
places = st.sampled_from(
    ["net.layers", "batch_size", "optimizer.momentum", "optimizer.lrr", "loader.wokers", "nett.x"]
)


@settings(fast, max_examples=250)
@given(st.dictionaries(places, parameters, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_any_parameters_are_sound_or_refused(
    tmp_path: Path, drawn: dict[str, Any], draw: random.Random
) -> None:
    data = config_file.parse(STUDY, "opt.yaml").data
    items = list({**data["search_space"], **drawn}.items())
    draw.shuffle(items)
    found = check(tmp_path, to_text({**data, "search_space": dict(items)}))
    assume(found)
    assert all("search_space." in line or "run.yaml" in line for line in found), found


@pytest.mark.parametrize(
    ("key", "near"),
    [(key, key[:1] + key[2:]) for key in OptimizeConfig.model_fields if len(key) > 4],
)
def test_a_letter_less_is_answered_with_the_key(tmp_path: Path, key: str, near: str) -> None:
    text = STUDY if re.search(rf"^{key}:", STUDY, re.MULTILINE) else f"{STUDY}{key}: 1\n"
    found = check(tmp_path, re.sub(rf"^{key}:", f"{near}:", text, flags=re.MULTILINE))
    assert [line for line in found if line.endswith(f"unknown key '{near}'; did you mean '{key}'?")]


def test_a_component_that_cannot_be_imported_is_told(tmp_path: Path, mine: Callable[[str], str]) -> None:
    name = mine("raise RuntimeError('not today')\n")
    found = check(tmp_path, STUDY.replace("torch.optim.AdamW", f"{name}.Mine"))
    assert found == [
        f"opt.yaml:16: search_space.optimizer.choices.1.target: importing '{name}' failed: RuntimeError:"
        f" not today ({name}.py:1)"
    ]
