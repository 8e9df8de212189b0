"""A search space: its order, its conditions, its corners, its grid, and what Optuna stores of it."""

import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial

from lab.config import ConfigError, Space, config_file
from lab.config.base import Frozen
from lab.config.search_parameters import Parameter
from lab.config.validation import validate


class Owner(Frozen):
    search_space: dict[str, Parameter]


def make(text: str) -> Space:
    return Space(validate(Owner, {"search_space": config_file.parse(text, "f.yaml").data}).search_space)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        make(text)
    return [str(problem).removeprefix("search_space.") for problem in caught.value.problems]


TWO = """
optimizer.momentum: {type: float, low: 0.0, high: 0.9, step: 0.3, when: {optimizer.target: torch.optim.SGD}}
optimizer.lr: {type: float, low: 1.0e-5, high: 0.1, log: true}
optimizer: {choices: [{target: torch.optim.SGD, nesterov: false}, torch.optim.AdamW]}
batch_size: {choices: [8, 16]}
net.width: {type: int, low: 8, high: 64, log: true, when: {net.layers: [2, 3], batch_size: 16}}
net.layers: {type: int, low: 1, high: 4}
"""
SGD = {"target": "torch.optim.SGD", "nesterov": False}


def test_conditions_and_paths_above_come_first() -> None:
    assert make(TWO).order == (
        "optimizer", "optimizer.momentum", "optimizer.lr", "batch_size", "net.layers", "net.width",
    )  # fmt: skip
    assert list(make(TWO).parameters)[:2] == ["optimizer.momentum", "optimizer.lr"]


@pytest.mark.parametrize(
    ("chosen", "momentum", "width"),
    [
        ({"optimizer": SGD, "batch_size": 16, "net.layers": 3}, True, True),
        ({"optimizer": "torch.optim.SGD", "batch_size": 8, "net.layers": 3}, True, False),
        ({"optimizer": "torch.optim.AdamW", "batch_size": 16, "net.layers": 1}, False, False),
        ({"optimizer": None}, False, False),
        ({}, False, False),
    ],
)
def test_active(chosen: dict[str, Any], momentum: bool, width: bool) -> None:
    space = make(TWO)
    assert space.active("optimizer.momentum", chosen) is momentum
    assert space.active("net.width", chosen) is width
    assert space.active("optimizer.lr", chosen)


def test_a_condition_on_what_is_not_chosen_is_false() -> None:
    space = make(
        "a: {choices: [1, 2]}\nb: {choices: [1, 2], when: {a: 2}}\nc: {choices: [1], when: {b: 1}}\n"
    )
    assert space.suggest(FixedTrial({"a": 1, "b": 1, "c": 1})) == {"a": 1}
    assert space.suggest(FixedTrial({"a": 2, "b": 1, "c": 1})) == {"a": 2, "b": 1, "c": 1}
    assert space.from_params({"a": 1, "b": 1, "c": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("a.x: 1", [True, False, False, False]),
        ("a.x: [1, 2]", [True, True, False, False]),
        ("a.y.0: deep", [False, True, False, False]),
        ("a.target: m.N", [False, False, True, False]),
        ("a.x: null", [False, False, False, True]),
    ],
)
def test_a_condition_looks_into_the_choice(condition: str, holds: list[bool]) -> None:
    choices = "[{x: 1}, {x: 2, y: [deep]}, m.N, {x: null}]"
    space = make(f"a: {{choices: {choices}}}\nb: {{choices: [1], when: {{{condition}}}}}")
    assert [space.active("b", {"a": choice}) for choice in space.parameters["a"].values or ()] == holds


def test_numbers_in_conditions() -> None:
    space = make(
        "a: {type: float, low: 0, high: 0.6, step: 0.1}\nb: {choices: [1], when: {a: [0.3, 0]}}\n"
        "c: {type: int, low: 0, high: 3}\nd: {choices: [1], when: {c: 1}}\n"
    )
    assert [space.active("b", {"a": value}) for value in (0.0, 0.1 + 0.2, 0.3, 0.4)] == [
        True,
        True,
        True,
        False,
    ]
    assert [space.active("d", {"c": value}) for value in (0, 1, 2)] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a..b: {choices: [1]}", "a..b: 'a..b' is no path such as optimizer.lr"),
        ("a: {choices: [1]}\n\"'a'\": {choices: [1]}", "'a': is the same path as 'a'; keep one"),
        (
            "a: {choices: [1], when: {bbb: 1}}\nbbbb: {choices: [1]}",
            "a.when.bbb: 'bbb' is no parameter of this space; did you mean 'bbbb'?",
        ),
        (
            "a: {choices: [1], when: {x..y: 1}}\nb: {choices: [1]}",
            "a.when.x..y: 'x..y' is no parameter of this space; known: b",
        ),
        (
            "a: {choices: [1], when: {a: 1}}",
            "a.when.a: depends on itself; `when` must refer to another parameter",
        ),
        (
            "a: {choices: [1], when: {b: 1}}\nb: {choices: [1], when: {a: 1}}",
            "a.when: the conditions form a cycle: a needs b needs a",
        ),
        (
            "z: {choices: [1]}\na: {choices: [{b: 1}], when: {a.b: 1}}\na.b: {choices: [1]}",
            "a.when: the conditions form a cycle: a needs a.b needs a;"
            " a path needs those above it, too",
        ),
        (
            "a: {choices: [1], when: {o.target: torch.optim.SDG}}\n"
            "o: {choices: [torch.optim.SGD, {target: torch.optim.Adam}]}",
            "a.when.o.target: no choice of 'o' has target: 'torch.optim.SDG' (text);"
            " did you mean 'torch.optim.SGD'?",
        ),
        (
            "a: {choices: [1], when: {o: torch.optim.SGD}}\no: {choices: [{target: torch.optim.SGD}]}",
            "a.when.o: no choice of 'o' is 'torch.optim.SGD' (text); ask for 'o.target'",
        ),
        (
            "a: {choices: [1], when: {o: [8, 9]}}\no: {choices: [8, 16]}",
            "a.when.o.1: no choice of 'o' is 9 (whole number);"
            " there are: 8 (whole number), 16 (whole number)",
        ),
        (
            "a: {choices: [1], when: {o.x: 8}}\no: {choices: [8]}",
            "a.when.o.x: no choice of 'o' has x: 8 (whole number)",
        ),
        (
            "a: {choices: [1], when: {o: 2}}\no: {type: int, low: 1, high: 5, step: 2}",
            "a.when.o: 'o' is never 2 (whole number): it goes from 1 to 5 by 2",
        ),
        (
            "a: {choices: [1], when: {o: 0.5}}\no: {type: float, low: 0, high: 1}",
            "a.when.o: 'o' is continuous, and hardly ever a single value; give it a step",
        ),
        (
            "a: {choices: [1], when: {o.x: 1}}\no: {type: int, low: 1, high: 5}",
            "a.when.o.x: 'o' is a number, and has no part 'x'",
        ),
        (
            "a: {choices: [1], when: {c: 1, b: 1}}\nb: {choices: [1], when: {c: 2}}\nc: {choices: [1, 2]}",
            "a.when: the conditions exclude each other, or those of what they name; it is never searched",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_conditions(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_corners() -> None:
    first = {
        "optimizer": SGD,
        "optimizer.momentum": 0.0,
        "optimizer.lr": 1e-5,
        "batch_size": 8,
        "net.layers": 1,
    }
    adam = {**first, "optimizer": "torch.optim.AdamW"}
    del adam["optimizer.momentum"]
    wide = {**first, "batch_size": 16, "net.layers": 2}
    assert [(c.label, c.at, c.values) for c in make(TWO).corners()] == [
        ("optimizer.momentum = 0 (low)", ("optimizer.momentum", "low"), first),
        (
            "optimizer.momentum = 0.9 (high)",
            ("optimizer.momentum", "high"),
            {**first, "optimizer.momentum": 0.9},
        ),
        ("optimizer.lr = 0.1 (high)", ("optimizer.lr", "high"), {**first, "optimizer.lr": 0.1}),
        ("optimizer = torch.optim.AdamW", ("optimizer", "choices", 1), adam),
        ("batch_size = 16", ("batch_size", "choices", 1), {**first, "batch_size": 16}),
        ("net.width = 8 (low)", ("net.width", "low"), {**wide, "net.width": 8}),
        ("net.width = 64 (high)", ("net.width", "high"), {**wide, "net.width": 64}),
        ("net.layers = 4 (high)", ("net.layers", "high"), {**first, "net.layers": 4}),
    ]


def test_many_numbers_share_corners() -> None:
    text = "\n".join(f"m.p{n}: {{type: float, low: {n}, high: {n + 0.5}}}" for n in range(150))
    space = make(text + "\n" + TWO)
    corners = space.corners()
    pools = [corner for corner in corners if corner.pool]
    few = len(make(TWO).corners()) - 1  # without the one that a pool now has
    assert len(corners) == len(pools) + few and len(pools) <= 20
    names = [f"m.p{n}" for n in range(150)] + ["optimizer.lr"]
    assert sorted(name for corner in pools for name in corner.pool) == sorted(names)
    for corner in pools:
        high = {name: float(name[3:]) + 0.5 if name[0] == "m" else 0.1 for name in corner.pool}
        low = {name: float(name[3:]) if name[0] == "m" else 1e-5 for name in names if name not in high}
        assert corner.values.items() >= (high | low).items() and corner.at == (corner.pool[0], "high")
        apart = space.apart(corner)
        assert [(each.at, each.pool) for each in apart] == [((name, "high"), ()) for name in corner.pool]
        assert all(each.values[name] == high[name] for each, name in zip(apart, corner.pool, strict=True))
        assert all(sum(each.values[n] != corners[0].values[n] for n in names) == 1 for each in apart)


def test_extremes() -> None:
    low = {
        "optimizer": SGD,
        "optimizer.momentum": 0.0,
        "optimizer.lr": 1e-5,
        "batch_size": 8,
        "net.layers": 1,
    }
    high = {**low, "optimizer.momentum": 0.9, "optimizer.lr": 0.1, "net.layers": 4}
    adam = {**high, "optimizer": "torch.optim.AdamW"}
    del adam["optimizer.momentum"]
    assert [(c.label, c.values) for c in make(TWO).extremes()] == [
        ("all numbers low", low),
        ("all numbers high", high),
        ("optimizer = torch.optim.AdamW", adam),
        ("batch_size = 16", {**high, "batch_size": 16}),
    ]
    assert [corner.label for corner in make("a: {choices: [1]}").extremes()] == ["all numbers low"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("a: {choices: [1, 2, 3]}\nb: {type: int, low: 1, high: 4}", 12),
        ("a: {type: float, low: 0, high: 0.3, step: 0.1}", 4),
        ("a: {type: float, low: 0, high: 0.3}", None),
        ("a: {choices: [1, 2]}\nb: {type: float, low: 0, high: 1, when: {a: 2}}", None),
        ("a: {choices: [1, 2]}\nb: {type: int, low: 1, high: 5, when: {a: 2}}", 6),
        ("a: {type: int, low: 1, high: 1000000}\nb: {choices: [1, 2, 3], when: {a: [1, 7]}}", 1000004),
        ("a: {choices: [1, 2]}\nb: {choices: [1, 2], when: {a: 2}}\nc: {choices: [1, 2], when: {b: 2}}", 4),
    ],
)
def test_size(text: str, size: int | None) -> None:
    assert make(text).size() == size


def test_grid() -> None:
    text = "o: {choices: [{target: a.B}, {target: c.D}]}\nn: {type: int, low: 1, high: 5, step: 2}\n"
    text += "f: {type: float, low: 0, high: 0.3, step: 0.1}"
    assert make(text).grid() == {"o": ["B", "D"], "n": [1, 3, 5], "f": [0.0, 0.1, 0.2, 0.3]}
    with pytest.raises(ConfigError) as caught:
        make(TWO).grid()
    assert [str(problem).partition("; ")[0] for problem in caught.value.problems] == [
        "search_space.optimizer.momentum.when: a grid has no conditions",
        "search_space.optimizer.lr: a grid needs a finite number of values",
        "search_space.net.width.when: a grid has no conditions",
    ]
    with pytest.raises(
        ConfigError, match="search_space: the grid has 1,000,000,000 points, and at most 100,000"
    ):
        make("a: {type: int, low: 1, high: 1000000000}").grid()


def test_the_grid_is_what_a_grid_sampler_visits() -> None:
    space = make("o: {choices: [{target: a.B}, [1]]}\nf: {type: float, low: 0, high: 0.3, step: 0.1}")
    study = optuna.create_study(sampler=optuna.samplers.GridSampler(space.grid(), seed=0))
    seen: list[str] = []
    study.optimize(lambda trial: float(seen.append(json.dumps(space.suggest(trial))) or 0.0))
    assert len(seen) == len(set(seen)) == space.size() == 8


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_brute_force_visits_as_many_points_as_there_are() -> None:
    space = make("a: {choices: [1, 2]}\nb: {type: int, low: 1, high: 3, when: {a: 2}}\nc: {choices: [x, y]}")
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
    study.optimize(lambda trial: float(len(space.suggest(trial))))
    assert len(study.trials) == space.size() == 8


def test_what_optuna_stores_is_read_back(tmp_path: Path) -> None:
    space = make(TWO)
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path}/s.db", sampler=optuna.samplers.RandomSampler(0)
    )
    kinds = set()
    for _ in range(20):
        trial = study.ask()
        values = space.suggest(trial)
        params = study.get_trials()[-1].params
        assert space.from_params(params) == values
        assert space.to_params(values) == params
        kinds.add(params["optimizer"])
        study.tell(trial, 0.0)
    assert kinds == {"SGD", "torch.optim.AdamW"}


def test_what_does_not_fit_is_said() -> None:
    space = make(TWO)
    good = {"optimizer": "torch.optim.AdamW", "optimizer.lr": 0.01, "batch_size": 8, "net.layers": 2}
    assert space.from_params({**good, "gone": 3})["net.layers"] == 2
    for change, error in (
        ({"net.layers": 9}, ValueError),
        ({"batch_size": 12}, ValueError),
        ({"optimizer": "SGD"}, KeyError),  # its momentum is missing
    ):
        with pytest.raises(error):
            space.from_params({**good, **change})
    with pytest.raises(KeyError):
        space.to_params({"optimizer": SGD})


names = st.sampled_from(["a", "a.b", "c", "c.d", "e"])
conditions = st.dictionaries(
    st.sampled_from(["a", "a.b", "a.x", "c", "e", "zz"]), st.integers(0, 2), max_size=2
)
kinds = st.one_of(
    st.fixed_dictionaries(
        {"choices": st.lists(st.integers(0, 2) | st.just({"x": 1}), min_size=1, max_size=3)}
    ),
    st.fixed_dictionaries({"type": st.just("int"), "low": st.integers(0, 1), "high": st.integers(1, 3)}),
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(names, st.tuples(kinds, conditions), min_size=1, max_size=5))
def test_any_space_is_refused_or_sound(drawn: dict[str, Any]) -> None:
    """Every corner has what it is the corner of, survives storage, and brute force finds `size` points."""
    data = {name: {**parameter, "when": when} for name, (parameter, when) in drawn.items()}
    try:
        space = Space(validate(Owner, {"search_space": data}).search_space)
    except ConfigError as error:
        assert all(problem.path[0] == "search_space" and problem.message for problem in error.problems)
        return
    above = {n: {o for o in data if n.startswith(f"{o}.")} | {*space.needs(n)} for n in data}
    order: list[str] = []
    while len(order) < len(data):
        order.append(next(n for n in data if n not in order and above[n] <= {*order}))
    assert list(space.order) == order, "the file's, but for what must come before"
    for path in ("a", "a.b", "a.b.x", "c.d.0", "e.x", "zz"):
        owners = [n for n in data if f"{path}.".startswith(f"{n}.")]
        assert space.owner(config_file.split(path)) == max(owners, key=len, default=None)
    for corner in space.corners():
        assert corner.at[0] in corner.values
        assert space.from_params(space.to_params(corner.values)) == corner.values
        assert list(corner.values) == [name for name in space.order if name in corner.values]
    assert {corner.at[0] for corner in space.corners()} <= set(data)
    size = space.size()
    assume(size is not None and size <= 60)
    points: list[dict[str, Any]] = [{}]
    for name in space.order:
        points = [
            {**point, name: value} if value is not point else point
            for point in points
            for value in ((space.parameters[name].values or ()) if space.active(name, point) else [point])
        ]
    assert len(points) == size
