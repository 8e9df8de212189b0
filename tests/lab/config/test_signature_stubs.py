"""Stand-ins say what the real things say, without importing them."""

import inspect
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.config import ConfigError, signature_stubs, static_imports
from lab.config.argument_types import annotations
from lab.config.component_spec import Spec
from lab.config.import_target import resolve
from lab.config.signatures import signature_of
from tests.conftest import ROOT

Write = Callable[[str], str]
KNOWN = (
    "model.MLP", "model.segmenter", "model.ConvNet", "model.RelationNet", "model.classifier",
    "model.FiLMSegmenter", "torch.optim.AdamW", "torch.optim.SGD", "torch.optim.Adam",
    "torch.optim.RMSprop", "torch.nn.MSELoss", "torch.nn.CrossEntropyLoss", "torch.nn.HuberLoss",
    "torch.nn.Linear", "torch.nn.functional.mse_loss", "torch.optim.lr_scheduler.OneCycleLR",
    "torch.optim.lr_scheduler.CosineAnnealingLR", "torch.optim.lr_scheduler.ReduceLROnPlateau",
    "torch.optim.lr_scheduler.SequentialLR", "lab.data.function", "lab.data.spheroids", "lab.data.digits",
    "lab.data.image_folder", "lab.data.manifest", "lab.data.class_folder", "lab.data.class_table",
    "lab.data.spheroid_plates", "lab.data.moving_boxes", "lab.data.conditioned_discs",
    "lab.data.action_genome", "lab.data.shapes", "lab.tasks.Segmentation", "lab.tasks.Classification",
    "lab.tasks.Regression", "lab.tasks.SceneGraph", "lab.losses.BCEDice", "lab.losses.CrossEntropy",
    "lab.losses.WeightedSum", "lab.losses.SceneGraphLoss", "lab.metrics.Dice",
    "lab.metrics.GraphRecall", "lab.metrics.MAE", "lab.metrics.F1", "albumentations.D4",
    "albumentations.Affine", "albumentations.GaussianBlur", "optuna.samplers.GPSampler",
    "optuna.samplers.GridSampler", "optuna.pruners.MedianPruner", "optuna.pruners.PatientPruner",
    "optuna.pruners.HyperbandPruner", "lab.hpo.pfl.PredictedFinalLoss", "torchvision.transforms.v2.Resize",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _afresh() -> None:
    """As in a new command: nothing is known, and there is all its allowance."""
    signature_stubs.look.__globals__["_stand_in"].cache_clear()
    static_imports.source_of.cache_clear()
    static_imports._read = 0


@pytest.mark.parametrize("name", KNOWN)
def test_signatures_are_those_of_the_real_things(name: str) -> None:
    made, real = signature_stubs.look(name), resolve(name)
    assert made is not None
    assert made.__name__ == real.__name__ and isinstance(made, type) == isinstance(real, type)
    told, true = signature_of(made).parameters, signature_of(real).parameters
    assert [(each.name, each.kind) for each in told.values()] == [
        (each.name, each.kind) for each in true.values()
    ]
    for mine, theirs in zip(told.values(), true.values(), strict=True):
        assert (mine.default is mine.empty, mine.default is None) == (
            theirs.default is theirs.empty,
            theirs.default is None,
        )


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_stand_in_refuses_the_real_thing_refuses_in_the_same_words(name: str) -> None:
    made = signature_stubs.look(name)
    assert made is not None
    real = resolve(name)
    for argument, checker in annotations(made).items():
        if argument not in annotations(real):
            continue
        for value in ("very", 2.5, 3, True, None, [1], ["a"], {"a": 1}, -1):
            told = list(checker.check(argument, value))
            assert bool(told) == bool(list(annotations(real)[argument].check(argument, value))), (
                argument,
                value,
            )


@pytest.mark.parametrize(
    "name",
    [
        "model.MPL", "torch.optim.SDG", "torch.nn.MSELos", "lab.data.functoin", "lab.losses.BceDice",
        "optuna.samplers.TPESamler", "torch.optim.lr_schedulr.StepLR", "lab.metric.Dice", "torch.nn.qzqzqz",
    ],
)  # fmt: skip
def test_a_name_that_is_not_there_is_told_as_the_import_tells_it(name: str) -> None:
    with pytest.raises(ConfigError) as told:
        signature_stubs.look(name)
    with pytest.raises(ConfigError) as true:
        resolve(name)
    assert str(told.value) == str(true.value)


def test_nothing_is_imported_and_closed_paths_stay_closed() -> None:
    code = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from lab.config import ConfigError
        from lab.config.signature_stubs import look
        for name in {KNOWN!r}:
            look(name)
        try:
            look("torch.hub.load")
        except ConfigError as error:
            print(str(error)[:40])
        heavy = ("torch", "torchvision", "albumentations", "optuna", "model", "numpy", "lab.data")
        print([name for name in heavy if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["target: 'torch.hub.load' may not be name", "[]"]


@pytest.mark.parametrize(
    ("source", "signature"),
    [
        ("class Net:\n    def __init__(self, width: int = 3, *, deep=None): pass",
         "(width: int = ..., *, deep=None)"),
        ("def Net(width, *rest, **more): pass", "(width, *rest, **more)"),
        ("import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self, a): pass", "(a)"),
        ("from model import MLP\nclass Net(MLP): pass", None),
        ("class Base:\n    def __init__(self, a): pass\nclass Net(Base):\n    '''\nx = 1\n'''", "(a)"),
        ("class Net: pass", "()"),
        ("if True:\n    def Net(a): pass\nelse:\n    def Net(a): pass", "(a)"),
        ("def build(a): pass\nNet = build", "(a)"),
        ("x = '''\ndef Net(no): pass\n'''\ndef Net(\n    a,\n    b=(\n1),\n): pass", None),
        ("x = '''\ndef Net(no): pass\n'''\ndef Net(\n    a,\n    b=1,\n): pass", "(a, b=...)"),
        ("def Net(a: 'int | None' = None): pass", "(a: int | None = None)"),
        ("from typing import Literal\nMode = Literal['a', 'b']\ndef Net(m: Mode): pass",
         "(m: Literal['a', 'b'])"),
        ("from typing import TypedDict, Unpack\nclass Own(TypedDict, total=False):\n    b: int\n"
         "def Net(a, **more: Unpack[Own]): pass", "(a, *, b: int = ...)"),
        ("import typing\nclass Base(typing.TypedDict):\n    b: typing.NotRequired[str]\n    c: int\n"
         "class Own(Base, total=False):\n    d: typing.Required[bool]\n    c: float\n"
         "class Net:\n    def __init__(self, **more: 'typing.Unpack[Own]'): pass",
         "(*, b: str = ..., c: float = ..., d: bool)"),
        ("def Net(a, **more: dict[str, int]): pass", "(a, **more)"),
        ("from typing import TypedDict, Unpack\nOwn = TypedDict('Own', {'b': int})\n"
         "def Net(a, **more: Unpack[Own]): pass", None),
        ("class A: pass\nclass B:\n    def __init__(self, b: int): pass\nclass Net(A, B): pass", "(b: int)"),
        ("from typing import Protocol\nclass A(Protocol): pass\nclass Net(A): pass", "()"),
        # What the sources leave open.
        ("import functools\n@functools.cache\ndef Net(a): pass", None),
        ("class Net(metaclass=type): pass", None),
        ("class A:\n    def __init__(self, a): pass\nclass B:\n    def __init__(self, b): pass\n"
         "class Net(A, B): pass", None),
        ("class Net:\n    def __new__(cls, a): pass", None),
        ("from dataclasses import dataclass\n@dataclass\nclass Net:\n    a: int", None),
        ("globals()['Net'] = print", None),
        ("from os.path import *", None),
        ("def __getattr__(name): return print", None),
        ("Net = make()", None),
        ("class Net(:\n  pass", None),
        ("\x00", None),
    ],
)  # fmt: skip
def test_the_users_own_module(mine: Write, source: str, signature: str | None) -> None:
    made = signature_stubs.look(f"{mine(source)}.Net")
    if signature is None:
        assert made is None or "from model" in source
        return
    assert made is not None
    hints = (made.__init__ if isinstance(made, type) else made).__annotations__
    said = inspect.signature(made)
    said = said.replace(parameters=[each.replace(annotation=hints.get(each.name, each.empty))
                                    for each in said.parameters.values()])  # fmt: skip
    assert str(said).replace("typing.", "").replace("Ellipsis", "...") == signature


def test_a_module_that_never_ends_is_left_to_the_import(mine: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_imports, "_MOST", 100)
    assert signature_stubs.look(f"{mine('x = 1' + ' ' * 200)}.Net") is None


def test_modules_that_import_each_other_in_a_circle(mine: Write, tmp_path: Path) -> None:
    (tmp_path / "circle_a.py").write_text("from circle_b import Net\n")
    (tmp_path / "circle_b.py").write_text("from circle_a import Net\n")
    mine("")
    assert signature_stubs.look("circle_a.Net") is None


def test_components_within_one_that_is_unknown_are_left_to_the_import(mine: Write) -> None:
    name = mine("Net = make()")
    spec = Spec.model_validate({"target": f"{name}.Net", "x": {"target": "torch.nn.Qzqz"}})
    assert list(spec.check(look=signature_stubs.look)) == []
