"""Search spaces with points that can't be built, repeated points, and points that are to be tried first."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from selftest.inputs.base import RUN, Files, WrongInput, config, mine

STUDY = "study.yaml"
_OPTIMIZE = ("--optimize", STUDY, "--json")
_LR = {"optimizer.lr": {"type": "float", "low": 1e-3, "high": 0.5, "log": True}}
_WIDTHS = {
    "net.width": {"type": "int", "low": 8, "high": 64},
    "net.heads": {"type": "int", "low": 2, "high": 8},
}
_CHOICES = {
    "optimizer.lr": {"type": "categorical", "choices": [0.01, 0.1]},
    "batch_size": {"type": "categorical", "choices": [4, 8, 12]},
}


def _study(net: str, n_trials: int, space: Mapping[str, object], **more: object) -> Files:
    def files(folder: Path) -> Mapping[str, object]:
        study = {
            "study_name": "input", "run": RUN, "n_trials": n_trials, "isolation": "none", "preflight": "off",
            "search_space": dict(space), **more,
        }  # fmt: skip
        (folder / STUDY).write_text(yaml.safe_dump(study, sort_keys=False))
        classes = {"task": "lab.tasks.Classification", "criterion": "torch.nn.CrossEntropyLoss"}
        return config(data=mine("classes"), net=mine(net), **classes)

    return files


def studies() -> Iterator[WrongInput]:
    """Small studies; each trial takes a tenth of a second."""

    def given(what: str, files: Files, trials: int, **more: float) -> WrongInput:
        expected = {"trials": float(trials), "points": float(trials), "failed": 0.0, **more}
        return WrongInput("studies", what, files, expected, command=_OPTIMIZE)

    by_constraint = _study("Attend", 8, _WIDTHS, constraints=["net.width % net.heads == 0"])
    yield given("heads that must divide a width, by a constraint", by_constraint, 8, infeasible=0.0)
    yield given("heads that must divide a width, by the constructor", _study("Picky", 8, _WIDTHS), 8)
    for n_trials in (6, 5, 20):
        few = _study("Fixed", n_trials, _CHOICES)
        yield given(f"{n_trials} trials in a space of 6 points", few, min(6, n_trials))
    first = [{"optimizer.lr": 0.05}, {"optimizer.lr": 0.002}]
    yield given("two points to try first", _study("Fixed", 3, _LR, enqueue=first), 3, first=0.05)
    for what, wrong, word in (
        ("an unknown name", {"enqueue": [{"optimizer.rl": 0.05}]}, "optimizer.rl: is not searched"),
        ("a value out of range", {"enqueue": [{"optimizer.lr": 0.9}]}, "0.9 is no number from"),
        ("one point twice", {"enqueue": [first[0], first[0]]}, "enqueue.1: is the same point"),
        ("a constraint on an unknown name", {"constraints": ["net.widht > 3"]}, "names net.widht"),
        ("a constraint that is no expression", {"constraints": ["optimizer.lr >"]}, "can't be read"),
        ("a constraint that calls a function", {"constraints": ["open('x', 'w') != 0"]}, "can't call open"),
        ("a constraint of endless cost", {"constraints": ["9 ** 9 ** 9 > 0"]}, "9 ** 9 ** 9 > 0"),
        ("an impossible constraint", {"constraints": ["optimizer.lr > 1"]}, "violated: optimizer.lr > 1"),
    ):  # fmt: skip
        files = _study("Fixed", 3, _LR, **wrong)
        yield WrongInput("studies", what, files, {}, (word,), command=_OPTIMIZE)
