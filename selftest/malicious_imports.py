"""Import paths that lead to other doors: what a stranger may write into a config."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selftest.studies import described, small_run

MARKER = "executed"  # a file that each payload makes
INTRUDER = "intruder"  # a module that makes it when it is imported, in no folder of the project
_STUDY: dict[str, object] = {
    "study_name": "small",
    "n_trials": 1,
    "search_space": {"optimizer.lr": {"choices": [0.1, 0.01]}},
}


@dataclass(frozen=True)
class Payload:
    """A config with something in it that runs code, from `malicious_imports.yaml`.

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
    options: Sequence[str] = ()

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


PAYLOADS = tuple(Payload(**each) for each in described(__file__))
