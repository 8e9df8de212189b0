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
_CODE = "__import__('pathlib').Path('MARK').touch()"


def _part(key: str, path: str, /, **arguments: object) -> Mapping[str, object]:
    return {key: {"target": path, **arguments}}


def _net(path: str, /, **arguments: object) -> Mapping[str, object]:
    return _part("net", path, **arguments)


def _choices(value: object) -> Mapping[str, object]:
    return {"search_space": {"net": {"choices": ["model.MLP", value]}, "optimizer.lr": {"choices": [0.1]}}}


PAYLOADS = (
    Payload("os.system as a loss", "os.system", {"criterion": _SYSTEM}),
    Payload("builtins.eval", "builtins.eval", _net("builtins.eval", source=_CODE)),
    Payload("builtins.exec", "builtins.exec", {"task": {"target": "builtins.exec", "source": _CODE}}),
    Payload("subprocess.Popen as data", "subprocess.Popen", {"data": _POPEN}),
    Payload(
        "posix.system as an optimizer", "posix.system", _part("optimizer", "posix.system", command=_TOUCH)
    ),
    Payload("pty.spawn as a metric", "pty.spawn", {"metrics": _part("m", "pty.spawn", argv=_TOUCH.split())}),
    Payload(
        "subprocess.call as a schedule",
        "subprocess.call",
        _part("scheduler", "subprocess.call", args=_TOUCH.split()),
    ),
    Payload("os by way of torch", "torch.os.system", _net("torch.os.system", command=_TOUCH)),
    Payload(
        "torch.hub.load",
        "torch.hub.load",
        _net("torch.hub.load", repo_or_dir=".", model="net", source="local"),
    ),
    Payload("torch.load", "torch.load", _net("torch.load", f="evil.pt", weights_only=False)),
    Payload(
        "a compiler",
        "torch.utils.cpp_extension.load",
        _net("torch.utils.cpp_extension.load", name="evil", sources=["evil.cpp"]),
    ),
    Payload(
        "a file for a tree",
        "sklearn.tree.export_graphviz",
        _part("data", "sklearn.tree.export_graphviz", decision_tree=1, out_file="MARK"),
    ),
    Payload("a part of the fault suite", "selftest", _net("selftest.bench.end_group", pid=0)),
    Payload("numpy.load", "numpy.load", _part("data", "numpy.load", file="evil.npy", allow_pickle=True)),
    Payload(
        "pickle.load",
        "pickle.load",
        _part("data", "pickle.load", **_part("file", "builtins.open", file="evil.pt")),
    ),
    Payload(
        "os by way of lab",
        "lab.store.run_folder.os.system",
        _part("criterion", "lab.store.run_folder.os.system", command=_TOUCH),
    ),
    Payload(
        "os by way of a good module",
        "lab.data.loader_workers.os",
        _part("criterion", "lab.data.loader_workers.os.system", command=_TOUCH),
    ),
    Payload(
        "torch.hub by way of the user's module",
        "model.torch",
        _net("model.torch.hub.load", repo_or_dir=".", model="net", source="local"),
    ),
    Payload(
        "globals of a method",
        "__init__",
        _net("model.MLP.__init__.__globals__.os.system", command=_TOUCH),
    ),
    Payload("subclasses of object", "__class__", _net("torch.nn.Linear.__class__.__base__.__subclasses__")),
    Payload(
        "among transforms",
        "os.system",
        {"data": {"target": "lab.data.shapes", "train_count": 16, "val_count": 8, "transforms": [_SYSTEM]}},
    ),
    Payload("deep within arguments", "subprocess.Popen", _net("model.MLP", width=[{"a": [{"b": _POPEN}]}])),
    Payload("as a tracker", "os.system", {"trackers": ["tensorboard", _SYSTEM]}),
    Payload("a module elsewhere on the path", INTRUDER, _net(f"{INTRUDER}.Net")),
    Payload(
        "the command itself",
        "main.main",
        _part("data", "main.main", arguments=["--run", "evil.yaml", "--allow-import", "os"]),
    ),
    Payload("as a sampler", "subprocess.Popen", study={"sampler": _POPEN}, verb="optimize"),
    Payload(
        "within a sampler",
        "os.system",
        verb="optimize",
        study={
            "sampler": {
                "target": "optuna.samplers.PartialFixedSampler",
                "fixed_params": {},
                "base_sampler": _SYSTEM,
            }
        },
    ),
    Payload(
        "within a pruner",
        "os.system",
        verb="optimize",
        study={
            "pruner": {"target": "optuna.pruners.PatientPruner", "patience": 1, "wrapped_pruner": _SYSTEM}
        },
    ),
    Payload("as a choice", "os.system", study=_choices(_SYSTEM), verb="optimize"),
    Payload(
        "as a choice, without any check",
        f"{INTRUDER}.Net",
        verb="optimize",
        study={**_choices(f"{INTRUDER}.Net"), "preflight": "off", "isolation": "none"},
    ),
    Payload("a run folder to go on with", "os.system", {"criterion": _SYSTEM}, verb="resume"),
    Payload("a run folder to predict with", "os.system", {"task": _SYSTEM}, verb="predict"),
    Payload("a run folder to judge", f"{INTRUDER}.Task", {"task": f"{INTRUDER}.Task"}, verb="evaluate"),
    Payload("on the command line", "os.system", verb="run", options=("--set", "net=os.system")),
)
