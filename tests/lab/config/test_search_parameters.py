"""One parameter: its range or choices, what is stored for them, and what Optuna makes of it."""

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from lab.config import ConfigError, config_file
from lab.config.base import Frozen
from lab.config.config_diff import same
from lab.config.search_parameters import CategoricalParameter, FloatParameter, IntParameter, Parameter
from lab.config.validation import validate


class One(Frozen):
    a: Parameter


def make(text: str) -> Any:
    return validate(One, config_file.parse(f"a: {text}", "f.yaml").data).a


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make(text)
    return [str(problem) for problem in caught.value.problems]


def test_defaults() -> None:
    assert make("{type: int, low: 1, high: 3}").model_dump() == {
        "type": "int", "low": 1, "high": 3, "step": 1, "log": False, "when": {},
    }  # fmt: skip
    assert make("{type: float, low: 1, high: 3}").model_dump() == {
        "type": "float", "low": 1.0, "high": 3.0, "step": None, "log": False, "when": {},
    }  # fmt: skip
    short = make("{choices: [1, x]}")
    assert short.model_dump() == {"type": "categorical", "choices": (1, "x"), "when": {}}
    assert short == make("{type: categorical, choices: [1, x]}")


KINDS = "{type: int, low, high}, {type: float, low, high} or {choices: [...]}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", f"a: found 3 (whole number), expected {KINDS}"),
        ("null", f"a: found nothing (null), expected {KINDS}"),
        ("[1, 2]", f"a: found [1, 2] (list), expected {KINDS}"),
        ("{low: 1, high: 2}", f"a: has no type; expected {KINDS}"),
        ("{tpye: int}", f"a: has no type (for 'tpye'; did you mean 'type'?); expected {KINDS}"),
        ("{choises: [1]}", f"a: has no type (for 'choises'; did you mean 'choices'?); expected {KINDS}"),
        (
            "{type: flaot, low: 1, high: 2}",
            "a.type: found 'flaot' (text), expected int, float or categorical; did you mean 'float'?",
        ),
        ("{type: 3}", "a.type: found 3 (whole number), expected int, float or categorical"),
        ("{type: int, low: 1, hihg: 2, high: 2}", "a.hihg: unknown key 'hihg'; did you mean 'high'?"),
        ("{type: int, low: 1}", "a.high: is required, and not given"),
        ("{type: int, low: 1, high: 2.5}", "a.high: found 2.5 (number), expected a whole number"),
        ("{type: int, low: 1, high: true}", "a.high: found true, expected a whole number"),
        ("{type: int, low: 1, high: 2, step: 0}", "a.step: found 0 (whole number), expected at least 1"),
        (
            "{type: int, low: 1, high: 100000000000000000}",
            "a.high: found 100000000000000000 (whole number), expected at most 9007199254740992",
        ),
        ("{type: float, low: 1, high: .inf}", "a.high: found .inf, expected a finite number"),
        ("{type: float, low: 1, high: '2'}", "a.high: found '2' (text), expected a number"),
        ("{type: float, low: 1, high: 2, step: 0}", "a.step: found 0 (whole number), expected more than 0"),
        ("{type: int, low: 5, high: 1}", "a.low: found 5 (whole number), which is more than high, 1"),
        ("{type: float, low: 0.5, high: 0.1}", "a.low: found 0.5 (number), which is more than high, 0.1"),
        (
            "{type: float, low: 0, high: 1, log: true}",
            "a.low: found 0.0 (number), expected more than 0 where log is true",
        ),
        (
            "{type: int, low: 0, high: 8, log: true}",
            "a.low: found 0 (whole number), expected more than 0 where log is true",
        ),
        (
            "{type: int, low: 1, high: 9, step: 2, log: true}",
            "a.step: goes with log: false only; remove step, or log",
        ),
        (
            "{type: float, low: 1, high: 9, step: 2, log: true}",
            "a.step: goes with log: false only; remove step, or log",
        ),
        (
            "{type: int, low: 1, high: 6, step: 2}",
            "a.step: found 2 (whole number), which leads from 1 to 5 and not to 6; give high: 5,"
            " or another step",
        ),
        (
            "{type: float, low: 0, high: 1, step: 0.3}",
            "a.step: found 0.3 (number), which leads from 0 to 0.9 and not to 1; give high: 0.9,"
            " or another step",
        ),
        (
            "{type: float, low: 0, high: 1, step: 1e-30}",
            "a.step: found 1e-30 (number), which is too small for 0 to 1",
        ),
        ("{choices: []}", "a.choices: found [] (list), expected a list of at least 1"),
        ("{choices: 3}", "a.choices: found 3 (whole number), expected a list"),
        ("{choices: [1, 2, 1.0]}", "a.choices.2: 1.0 (number) is listed twice; keep one"),
        (
            "{choices: [{b: 1, c: 2}, {c: 2, b: 1}]}",
            "a.choices.1: {'c': 2, 'b': 1} (mapping) is listed twice; keep one",
        ),
        ("{choices: [1], low: 2}", "a.low: unknown key 'low'; known: choices, type, when"),
        ("{choices: [1], when: 3}", "a.when: found 3 (whole number), expected a mapping"),
        (
            "{choices: [1], when: {b: {c: 1}}}",
            "a.when.b: found {'c': 1} (mapping), expected a value, or a list of values",
        ),
        ("{choices: [1], when: {b: []}}", "a.when.b: found [] (list), expected a value, or a list of values"),
    ],
)
def test_what_is_wrong_with_one(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("{type: int, low: 1, high: 4}", [1, 2, 3, 4]),
        ("{type: int, low: -3, high: 3, step: 3}", [-3, 0, 3]),
        ("{type: int, low: 2, high: 2}", [2]),
        ("{type: float, low: 0, high: 0.3, step: 0.1}", [0.0, 0.1, 0.2, 0.3]),
        ("{type: float, low: 1, high: 1}", [1.0]),
        ("{type: float, low: 1, high: 2}", None),
        ("{choices: [x, null]}", ["x", None]),
    ],
)
def test_values_are_counted(text: str, values: list[Any] | None) -> None:
    parameter = make(text)
    assert parameter.count == (None if values is None else len(values))
    assert (None if parameter.values is None else list(parameter.values)) == values


@pytest.mark.parametrize(
    ("choices", "labels"),
    [
        ("[8, 0.5, relu, null, true]", (8, 0.5, "relu", None, True)),
        ("[{target: torch.optim.SGD, lr: 1}, {target: torch.optim.AdamW}]", ("SGD", "AdamW")),
        ("[{target: a.Net}, {target: b.Net}]", ("a.Net", "b.Net")),
        ("[{target: a.Net, x: 1}, {target: a.Net}]", ('{"target":"a.Net","x":1}', '{"target":"a.Net"}')),
        ("[torch.optim.SGD, {target: torch.optim.SGD, lr: 1}]", ("torch.optim.SGD", "SGD")),
        ("[SGD, {target: torch.optim.SGD}]", ("SGD", "torch.optim.SGD")),
        ("[[0.9, 0.99], [], {a: b}]", ("[0.9,0.99]", "[]", '{"a":"b"}')),
        ("[1, true]", ("1", "true")),
        ("[1, true, '1']", ("1", "true", '"1"')),
        ("[.inf, 1]", ("Infinity", 1)),
        ("[{0: x}, {'0': x}]", ('{"0":"x"} #0', '{"0":"x"} #1')),
    ],
)
def test_labels(choices: str, labels: tuple[Any, ...]) -> None:
    parameter = make(f"{{choices: {choices}}}")
    assert same(parameter.labels, labels)
    assert [parameter.value(label) for label in labels] == list(parameter.choices)
    assert same([parameter.label(choice) for choice in parameter.choices], labels)


scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["1", "true", "a.B", "B", 1.5, -0.0])
)
choice = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["target", "x", 0, "0"]), inner)
    ),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(choice, min_size=1, max_size=6))
def test_labels_tell_all_choices_apart(choices: list[Any]) -> None:
    try:
        parameter = CategoricalParameter(choices=tuple(choices))
    except ValueError:
        assert any(same(a, b) for i, a in enumerate(choices) for b in choices[:i])
        return
    labels = parameter.labels
    assert all(a != b for i, a in enumerate(labels) for b in labels[:i]), "Optuna compares by =="
    for chosen, label in zip(parameter.choices, labels, strict=True):
        assert isinstance(label, (str, int, float, bool, type(None)))
        assert same(parameter.value(label), chosen)
        assert parameter.suggest(FixedTrial({"a": label}), "a") is chosen


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ("{type: int, low: 1, high: 7, step: 2}", [1, 3, 7], [0, 2, 8, 9, 3.0, True, "3", None]),
        ("{type: float, low: 0, high: 0.3, step: 0.1}", [0, 0.1, 0.7 - 0.5], [0.15, -0.1, 0.4, "0.1", True]),
        ("{type: float, low: 1, high: 2}", [1, 1.5, 2.0], [0.99, 2.01, math.nan, math.inf, None, True]),
        ("{choices: [1, x, null]}", [1, "x", None], [True, "1", 2, "y", [1]]),
    ],
)
def test_only_what_can_be_chosen_is_read_back(text: str, good: list[Any], bad: list[Any]) -> None:
    parameter = make(text)
    assert [parameter.value(label) for label in good] == good
    for label in bad:
        with pytest.raises(ValueError, match=r"is no|is not one of the choices"):
            parameter.value(label)


@pytest.mark.parametrize(
    "text",
    [
        "{type: int, low: 1, high: 7, step: 2}",
        "{type: int, low: 1, high: 64, log: true}",
        "{type: float, low: 1e-5, high: 0.1, log: true}",
        "{type: float, low: 0, high: 0.9, step: 0.3}",
        "{choices: [{target: a.B}, [1], true, 1]}",
    ],
)
def test_optuna_keeps_what_was_chosen(text: str, tmp_path: Path) -> None:
    """Through SQLite and back, and the distribution is the same that a study holds."""
    parameter = make(text)
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/s.db", sampler=optuna.samplers.RandomSampler(0)
    )
    for _ in range(5):
        trial = study.ask()
        value = parameter.suggest(trial, "a")
        stored = study.get_trials()[-1]
        assert same(parameter.value(stored.params["a"]), value)
        assert parameter.label(value) == stored.params["a"]
        assert stored.distributions["a"] == parameter.distribution()
        study.tell(trial, 0.0)


def test_kinds_and_conditions() -> None:
    parameter = make("{type: int, low: 1, high: 2, when: {b.target: x.Y, c: [1, 2]}}")
    assert isinstance(parameter, IntParameter)
    assert isinstance(make("{type: float, low: 1, high: 2}"), FloatParameter)
    assert parameter.conditions == {"b.target": ("x.Y",), "c": (1, 2)}


def test_sums_of_steps_are_the_value_as_it_is_written() -> None:
    parameter = make("{type: float, low: 0.1, high: 0.7, step: 0.1}")
    assert isinstance(parameter, FloatParameter)
    sums = [0.1 + index * 0.1 for index in range(7)]
    assert sums[2] != 0.3 and [*map(parameter.exact, sums)] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        (
            [{"target": "torch.nn.HuberLoss", "delta": 1.0}, {"target": "torch.nn.HuberLoss", "delta": 2.0}],
            ("HuberLoss(delta=1.0)", "HuberLoss(delta=2.0)"),
        ),
        (
            [
                {"target": "torch.nn.HuberLoss"},
                {"target": "torch.nn.HuberLoss", "delta": 2.0},
                "torch.nn.MSELoss",
            ],
            ("HuberLoss()", "HuberLoss(delta=2.0)", "torch.nn.MSELoss"),
        ),
        (  # what all have alike isn't shown
            [
                {"target": "model.MLP", "layers": 2, "width": 8, "act": {"target": "torch.nn.Tanh"}},
                {"target": "model.MLP", "layers": 2, "width": 8, "act": {"target": "torch.nn.ReLU"}},
            ],
            ("MLP(act.target=torch.nn.Tanh)", "MLP(act.target=torch.nn.ReLU)"),
        ),
        (  # secrets are hidden, and the choices told apart all the same
            [{"target": "m.Net", "api_key": "hunter2hunter2"}, {"target": "m.Net", "api_key": "swordfish99"}],
            ("Net() #0", "Net() #1"),
        ),
        (
            [{"target": "a.Net", "w": 1}, {"target": "a.Net", "w": 2}, {"target": "b.Net", "w": 1}],
            ("a.Net(w=1)", "a.Net(w=2)", "b.Net"),
        ),
        ([True, 1, None, [1, 2]], None),
    ],
)
def test_two_choices_of_one_component_have_names_of_their_own(choices: Any, names: Any) -> None:
    parameter = CategoricalParameter(choices=tuple(choices))
    assert parameter.names == (parameter.labels if names is None else names)
    assert len(set(map(repr, parameter.names))) == len(choices)
