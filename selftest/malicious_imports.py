"""Import paths that lead to other doors: what a stranger may write into a config."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from selftest.studies import small_run

MARKER = "executed"  # a file that each payload makes
INTRUDER = "intruder"  # a module that makes it when it is imported, in no folder of the project
_STUDY: dict[str, object] = {
    "study_name": "small",
    "n_trials": 1,
    "search_space": {"optimizer.lr": {"choices": [0.1, 0.01]}},
}


@dataclass(frozen=True)
class Payload:
    """A config with something in it that runs code.

    Args:
        name: what it is called.
        wanted: what the refusal names.
        run: keys of a run that it sets; MARK in a text stands for the marker's path.
        study: keys of a study that it sets; without any it is a run.
        verb: of the command; of `resume`, `predict` and `evaluate` the run's folder is the stranger's.
        options: of the command besides.
    """

    name: str
    wanted: str
    run: Mapping[str, object] = field(default_factory=dict)
    study: Mapping[str, object] = field(default_factory=dict)
    verb: str = "run"
    options: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        """The config's file, for `folder` as the place of the marker."""
        run = small_run(**self.run)
        data = {**_STUDY, "run": run, **self.study} if self.study else run
        path = folder / ("study.yaml" if self.study else "config.yaml")
        text = json.dumps(data, indent=1)  # which is YAML, too
        path.write_text(text.replace("MARK", str(folder / MARKER)))
        return path

    def arguments(self, path: Path) -> tuple[str, ...]:
        """The arguments of the command."""
        stranger = self.verb in ("resume", "predict", "evaluate")
        more = ("--input", "images", "--output", "out") if self.verb == "predict" else ()
        return (f"--{self.verb}", str(path.parent if stranger else path.name), *more, *self.options)


_TOUCH = "touch MARK"
_SYSTEM = {"target": "os.system", "command": _TOUCH}
_POPEN = {"target": "subprocess.Popen", "args": _TOUCH.split()}
_SPAWN = {"target": "pty.spawn", "argv": _TOUCH.split()}
_CODE = "__import__('pathlib').Path('MARK').touch()"
_HUB = {"repo_or_dir": ".", "model": "net", "source": "local"}


def _part(name: str, key: str, path: str, wanted: str = "", /, **arguments: object) -> Payload:
    """A run with an import path in one section; the refusal names the path, or what is `wanted`."""
    return Payload(name, wanted or path, {key: {"target": path, **arguments}})


def _study(name: str, wanted: str, /, **keys: object) -> Payload:
    return Payload(name, wanted, study=keys, verb="optimize")


def _choices(value: object) -> Mapping[str, object]:
    return {"net": {"choices": ["model.MLP", value]}, "optimizer.lr": {"choices": [0.1]}}


_SAMPLER = {"target": "optuna.samplers.PartialFixedSampler", "fixed_params": {}, "base_sampler": _SYSTEM}
_PRUNER = {"target": "optuna.pruners.PatientPruner", "patience": 1, "wrapped_pruner": _SYSTEM}
_SHAPES = {"target": "lab.data.shapes", "train_count": 16, "val_count": 8, "transforms": [_SYSTEM]}
PAYLOADS = (
    _part("os.system as a loss", "criterion", "os.system", command=_TOUCH),
    _part("builtins.eval", "net", "builtins.eval", source=_CODE),
    _part("builtins.exec", "task", "builtins.exec", source=_CODE),
    _part("subprocess.Popen as data", "data", "subprocess.Popen", args=_TOUCH.split()),
    _part("posix.system as an optimizer", "optimizer", "posix.system", command=_TOUCH),
    Payload("pty.spawn as a metric", "pty.spawn", {"metrics": {"m": _SPAWN}}),
    _part("subprocess.call as a schedule", "scheduler", "subprocess.call", args=_TOUCH.split()),
    _part("os by way of torch", "net", "torch.os.system", command=_TOUCH),
    _part("torch.hub.load", "net", "torch.hub.load", **_HUB),
    _part("torch.load", "net", "torch.load", f="evil.pt", weights_only=False),
    _part("a compiler", "net", "torch.utils.cpp_extension.load", name="evil", sources=["evil.cpp"]),
    _part("a file for a tree", "data", "sklearn.tree.export_graphviz", decision_tree=1, out_file="MARK"),
    _part("a part of the fault suite", "net", "selftest.bench.end_group", "selftest", pid=0),
    _part("numpy.load", "data", "numpy.load", file="evil.npy", allow_pickle=True),
    _part("pickle.load", "data", "pickle.load", file={"target": "builtins.open", "file": "evil.pt"}),
    _part("os by way of lab", "criterion", "lab.store.run_folder.os.system", command=_TOUCH),
    _part(
        "os by way of a good module",
        "criterion",
        "lab.data.loader_workers.os.system",
        "lab.data.loader_workers.os",
        command=_TOUCH,
    ),
    _part("torch.hub by way of the user's module", "net", "model.torch.hub.load", "model.torch", **_HUB),
    _part(
        "globals of a method", "net", "model.MLP.__init__.__globals__.os.system", "__init__", command=_TOUCH
    ),
    _part("subclasses of object", "net", "torch.nn.Linear.__class__.__base__.__subclasses__", "__class__"),
    Payload("among transforms", "os.system", {"data": _SHAPES}),
    _part("deep within arguments", "net", "model.MLP", "subprocess.Popen", width=[{"a": [{"b": _POPEN}]}]),
    Payload("as a tracker", "os.system", {"trackers": ["tensorboard", _SYSTEM]}),
    _part("a module elsewhere on the path", "net", f"{INTRUDER}.Net", INTRUDER),
    _part(
        "the command itself", "data", "main.main", arguments=["--run", "evil.yaml", "--allow-import", "os"]
    ),
    _study("as a sampler", "subprocess.Popen", sampler=_POPEN),
    _study("within a sampler", "os.system", sampler=_SAMPLER),
    _study("within a pruner", "os.system", pruner=_PRUNER),
    _study("as a choice", "os.system", search_space=_choices(_SYSTEM)),
    _study(
        "as a choice, without any check",
        f"{INTRUDER}.Net",
        search_space=_choices(f"{INTRUDER}.Net"),
        preflight="off",
        isolation="none",
    ),
    Payload("a run folder to go on with", "os.system", {"criterion": _SYSTEM}, verb="resume"),
    Payload("a run folder to predict with", "os.system", {"task": _SYSTEM}, verb="predict"),
    Payload("a run folder to judge", f"{INTRUDER}.Task", {"task": f"{INTRUDER}.Task"}, verb="evaluate"),
    Payload("on the command line", "os.system", verb="run", options=("--set", "net=os.system")),
)
