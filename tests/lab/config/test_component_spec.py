"""Components: both forms, checked against the real signature, built with what the run gives."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lab.config import ConfigError, Spec
from lab.config.problems import Refusal

Write = Callable[[str], str]


def spec(target: str, **arguments: Any) -> Spec:
    return Spec.model_validate({"target": target, **arguments})


def said(target: str, *runtime: str, wildcard: str | None = None, **arguments: Any) -> list[str]:
    return [str(problem) for problem in spec(target, **arguments).check(*runtime, wildcard=wildcard)]


def refused(component: Spec, *runtime: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        component.build(*runtime)
    return str(caught.value)


def test_short_and_long_form() -> None:
    assert Spec.model_validate("model.MLP") == spec("model.MLP")
    assert spec("model.MLP", width=3).arguments == {"width": 3}
    assert spec("a.b", build=1, arguments=2, check=3).arguments == {"build": 1, "arguments": 2, "check": 3}


@pytest.mark.parametrize("target", ["MLP", "model.", ".MLP", "model MLP", "model.MLP()", "a-b.c", "1a.b", ""])
def test_what_is_no_import_path(target: str) -> None:
    with pytest.raises(ValueError, match=r"is no import path such as model\.MLP"):
        Spec.model_validate(target)


@pytest.mark.parametrize(
    ("target", "arguments", "expected"),
    [
        ("torch.nn.Linear", {"in_features": 1, "out_features": 2}, []),
        (
            "torch.nn.Linear",
            {"in_featurse": 1, "out_features": 2},
            [
                "in_featurse: Linear takes no 'in_featurse'; did you mean 'in_features'?",
                "Linear needs 'in_features', which is not given",
            ],
        ),
        ("lab.losses.BCEDice", {"qqq": 1}, ["qqq: BCEDice takes no 'qqq'; known: alpha, beta, smooth"]),
        ("torch.nn.ReLU", {"qqq": 1}, ["qqq: ReLU takes no 'qqq'; known: inplace"]),
        ("torch.nn.Linear", {"in_features": 1}, ["Linear needs 'out_features', which is not given"]),
        (
            "torch.nn.Linear",
            {"in_features": 1.5, "out_features": "2", "bias": 1},
            [
                "in_features: found 1.5 (number), expected a whole number",
                "out_features: found '2' (text), expected a whole number",
                "bias: found 1 (whole number), expected true or false",
            ],
        ),
        ("model.MLP", {"activation": "rleu"}, ["activation: found 'rleu' (text), expected "]),
        (
            "albumentations.D4",
            {"prob": 1.0},
            ["prob: D4 takes no 'prob'; known: p"],
        ),
        ("albumentations.GaussianBlur", {"blur_limits": [3, 5]}, ["did you mean 'blur_limit'?"]),
        ("torch.nn.Liner", {}, ["target: 'torch.nn' has no 'Liner'; did you mean 'Linear'?"]),
    ],
)
def test_check(target: str, arguments: dict[str, Any], expected: list[str]) -> None:
    found = said(target, **arguments)
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True)), found


def test_what_the_run_gives_is_not_given_in_the_config() -> None:
    optimizer = "torch.optim.AdamW"
    assert said(optimizer, "params", lr=0.1, betas=[0.9, 0.99]) == []
    assert said(optimizer, "params", params=[1]) == [
        "params: AdamW gets 'params' from the run; remove it here"
    ]
    assert said(optimizer, "params", betas=[0.9, "x"]) == ["betas.1: found 'x' (text), expected a number"]
    assert said("torch.nn.ReLU", "a", "b") == ["target: ReLU must take a, b as its first arguments"]
    assert said("torch.optim.lr_scheduler.StepLR", "optimizer", optimizer="x") == [
        "optimizer: StepLR gets 'optimizer' from the run; remove it here",
        "StepLR needs 'step_size', which is not given",
    ]


def test_the_wildcard_stands_for_any_number() -> None:
    cosine = "torch.optim.lr_scheduler.CosineAnnealingLR"
    assert said(cosine, "optimizer", wildcard="auto", T_max="auto") == []
    assert said(cosine, "optimizer", T_max="auto") == ["T_max: found 'auto' (text), expected a whole number"]


def test_keyword_arguments_of_any_name(mine: Write) -> None:
    name = mine("def f(width, in_channels=1, **options): return width, options\n")
    assert said(f"{name}.f", width=1, colour="red") == []
    assert said(f"{name}.f", widht=1) == [
        "widht: f names no 'widht'; did you mean 'width'?",
        "f needs 'width', which is not given",
    ]
    assert said(f"{name}.f", width=1, width2=2) == [], "a name of its own, beside the one that is given"
    assert said(f"{name}.f", width=1, out_channels=2) == [], "not near enough to be a slip"
    assert spec(f"{name}.f", width=1, colour="red").build() == (1, {"colour": "red"})


def test_what_tells_no_signature_is_not_checked() -> None:
    assert said("torch.tensor", data=[1.0]) == []
    assert torch.equal(spec("torch.tensor", data=[1.0, 2.0]).build(), torch.tensor([1.0, 2.0]))


def test_components_within_components() -> None:
    inner = {"target": "torch.nn.Linear", "in_features": 2, "out_features": 3}
    nested = {"a": [inner, {"b": {**inner, "bais": True}}], "c": {"target": "torch.nn.Lin"}}
    assert said("builtins.dict", x=nested) == [
        "x.a.1.b.bais: Linear takes no 'bais'; did you mean 'bias'?",
        "x.c.target: 'torch.nn' has no 'Lin'; did you mean 'Linear'?",
    ]
    built = spec("builtins.dict", x={"a": [inner, {"b": inner}], "d": [1, None]}).build()
    assert isinstance(built["x"]["a"][0], nn.Linear)
    assert built["x"]["a"][1]["b"].weight.shape == (3, 2)
    assert built["x"]["d"] == [1, None]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"target": "Linear"}, "x.0.target: 'Linear' is no import path such as model.MLP"),
        ({"target": "a.b", 3: 4}, "x.0.3: the key 3 (whole number) must be a name"),
    ],
)
def test_a_component_within_that_is_none(part: dict[Any, Any], message: str) -> None:
    assert said("builtins.dict", x=[part]) == [message]
    assert refused(spec("builtins.dict", x=[part])) == message


def test_a_scheduler_within_a_scheduler_gets_the_optimizer() -> None:
    name = "torch.optim.lr_scheduler"
    warm = {"target": f"{name}.LinearLR", "start_factor": 0.1, "total_iters": 2}
    then = {"target": f"{name}.CosineAnnealingLR", "T_max": 4}
    both = {"schedulers": [warm, then], "milestones": [2]}
    assert said(f"{name}.SequentialLR", "optimizer", **both) == []
    assert said(
        f"{name}.SequentialLR", "optimizer", **{**both, "schedulers": [{**warm, "optimizer": 1}]}
    ) == ["schedulers.0.optimizer: found 1 (whole number), expected Optimizer"]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = spec(f"{name}.SequentialLR", **both).build(optimizer)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.1, 0.55, 1.0, 0.8535534])


def test_lists_arrive_as_tuples_where_the_signature_says_so(mine: Write) -> None:
    name = mine(
        "from pathlib import Path\n"
        "def f(size: tuple[int, int], names: list[str], root: Path, free=None):\n"
        "    return size, names, root, free\n"
    )
    built = spec(f"{name}.f", size=[1, 2], names=["a"], root="b/c", free=[3]).build()
    assert built == ((1, 2), ["a"], Path("b/c"), [3])


@pytest.mark.parametrize(
    ("body", "message", "declared"),
    [
        ("raise ValueError('no')", "can't be built: no", False),
        ("assert x > 0, 'x must be positive'", "can't be built: AssertionError: x must be positive", False),
        ("assert x > 0", "can't be built: AssertionError: assert x > 0", False),
        ("raise lab.Infeasible('no')", "is infeasible: no", True),
        ("raise optuna.TrialPruned('no')", "is infeasible: TrialPruned: no", True),
        ("raise UnicodeError('no')", "can't be built: no", False),  # a ValueError
        ("raise TypeError('a bug')", None, False),
        ("raise RuntimeError('a bug')", None, False),
    ],
)
def test_a_constructor_refuses_its_arguments_or_has_a_bug(
    mine: Write, body: str, message: str | None, declared: bool
) -> None:
    name = mine(f"import lab, optuna\n\n\ndef f(x):\n    {body}\n\ndef outer(part):\n    return part\n")
    nested = spec(f"{name}.outer", part={"target": f"{name}.f", "x": -1})
    if message is None:
        with pytest.raises((TypeError, RuntimeError), match="a bug"):
            nested.build()
        return
    with pytest.raises(Refusal) as caught:
        nested.build()
    (problem,) = caught.value.problems
    assert (problem.path, caught.value.declared) == (("part",), declared)
    assert problem.message == f"{name}.f {message} ({name}.py:5)"
    assert isinstance(caught.value.below(("net",)), Refusal)


def test_a_refused_argument_is_told_and_a_mistake_in_ones_own_code_is_not_hidden(mine: Write) -> None:
    name = mine(
        "def value(x):\n    raise ValueError(f'x must be positive, found {x}')\n"
        "def key(x):\n    return {}[x]\n"
        "def kind(x):\n    return x + None\n"
    )
    assert refused(spec(f"{name}.value", x=-1)) == (
        f"{name}.value can't be built: x must be positive, found -1 ({name}.py:2)"
    )
    with pytest.raises(KeyError):
        spec(f"{name}.key", x=1).build()
    with pytest.raises(TypeError):
        spec(f"{name}.kind", x=1).build()


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (spec("torch.nn.Dropout", p=2.0), r"dropout probability has to be between 0 and 1, but got 2.0"),
        (spec("torch.nn.Linear", in_features=-1, out_features=1), r"RuntimeError: .*negative dimension.*"),
        (spec("torch.nn.Conv2d", in_channels=1, out_channels=1, kernel_size="a"), r"\w+Error: .*"),
        (spec("operator.getitem", a={}, b="x"), r"\w+Error: .*"),
        (spec("model.MLP", width=0), r"width must be at least 1, found 0 \(model.py:\d+\)"),
    ],
)
def test_what_a_library_refuses_is_told_in_one_line(component: Spec, message: str) -> None:
    said_so = refused(component)
    assert re.fullmatch(rf"{re.escape(component.target)} can't be built: {message}", said_so), said_so


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "albumentations.D4", "p": 3.0}, "p: found 3.0 (number), expected at most 1"),
        (
            {"target": "albumentations.Affine", "rotate": "a"},
            "rotate: found 'a' (text), expected a list or a number",
        ),
        (
            {"target": "albumentations.RandomCrop", "height": -1, "width": 0},
            "height: found -1 (whole number), expected at least 1\n"
            "width: found 0 (whole number), expected at least 1",
        ),
    ],
)
def test_what_a_librarys_own_pydantic_refuses_reads_like_ours(
    arguments: dict[str, Any], message: str
) -> None:
    assert refused(Spec.model_validate(arguments)) == message


def test_errors_of_a_component_within_name_its_path() -> None:
    component = spec("builtins.dict", x=[{"target": "torch.nn.Dropout", "p": 2.0}])
    assert refused(component).startswith("x.0: torch.nn.Dropout can't be built: ")


def test_a_loss_may_be_a_class_or_a_function() -> None:
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])
    assert isinstance(spec("torch.nn.L1Loss").as_function(), nn.L1Loss)
    assert spec("torch.nn.functional.l1_loss").as_function() is nn.functional.l1_loss
    assert spec("torch.nn.functional.l1_loss").as_function()(a, b) == 1.5
    assert spec("torch.nn.functional.l1_loss", reduction="sum").as_function()(a, b) == 3.0


def test_a_file_that_cannot_be_read_is_told_by_ours() -> None:
    problem = refused(spec("lab.data.class_folder", root="x" * 300))
    assert problem.startswith("lab.data.class_folder can't be built: OSError: ")
