"""A study's events in a process of its own: `python tests/mirror_scenario.py FOLDER SCENE` (as JSON).

A scene has `config` (of the base run's W&B tracker) and `steps`: each the name of a method of `Scene` and
its arguments. Prints one JSON line, before the interpreter ends: the notes, the seconds of the slowest call
and of the end, and how many threads are left.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parent.parent))

from lab.config.optimize_config import OptimizeConfig
from lab.config.validation import validate
from lab.events import Outcome
from lab.hpo.learning_curve import Curve
from lab.hpo.leases import Lease
from lab.hpo.study_callbacks import TrialResult
from lab.hpo.trial import Trial
from lab.hpo.wandb_sync import WandbSync
from lab.hpo.worker_main import EpochReported, RunEnded, RunStarted, TrialFinished
from lab.trackers.csv_file import CsvTracker
from tests.run_events import epoch_end, run_end, run_start
from tests.wandb_scenario import kill_service

BASE = {"epochs": 4, "data": {"target": "lab.data.function"}, "net": {"target": "model.MLP"}}
SPACE = {"optimizer.lr": {"type": "float", "low": 0.0, "high": 1.0}}


class Scene:
    """Trials by number, and the mirror that hears of them; a trial's lr is a tenth of its number."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        run = {**BASE, "project": "spheroids", "trackers": [{"type": "wandb", **config}]}
        study = {"study_name": "night", "run": run, "search_space": SPACE}
        self.config = validate(OptimizeConfig, study)
        self.folder = folder
        self.notes: list[str] = []
        self.mirror = WandbSync(self.config, folder, self.notes.append)
        self.trials: dict[int, Trial] = {}
        self.worst = self.close_seconds = 0.0

    def tell(self, call: Any, *arguments: Any) -> None:
        """Call the mirror, and remember how long the longest call took."""
        began = time.monotonic()
        call(*arguments)
        self.worst = max(self.worst, time.monotonic() - began)

    def trial(self, number: int, seeds: int = 1, halvings: int = 0) -> Trial:
        if number not in self.trials:
            values = {"optimizer.lr": number / 10}
            recipe = self.config.trial_config({**values, "seeds": list(range(seeds))})
            folder = self.folder / f"trial_{number:05d}"
            lease = Lease(number, number, "me", 1)
            self.trials[number] = Trial(lease, values, recipe, "", folder, False, Curve(4))
        self.trials[number].halvings = halvings
        return self.trials[number]

    def train(
        self,
        number: int,
        first: int,
        last: int,
        told: int = 99,
        seed: int = 0,
        seeds: int = 1,
        halvings: int = 0,
    ) -> None:
        """Begin a trial at an epoch, record the epochs to `last`, and tell those up to `told`."""
        trial = self.trial(number, seeds, halvings)
        folder = trial.folder if seeds == 1 else trial.folder / f"seed_{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        run_id = trial.folder.name if seeds == 1 else f"{trial.folder.name}-seed_{seed}"
        start = run_start(folder, run_id=run_id, first_epoch=first, group=None)
        record = CsvTracker()
        record.start(start)
        self.tell(self.mirror.on_run_start, trial, RunStarted(seed, start))
        for epoch in range(first, last + 1):
            end = epoch_end(epoch, {"train_loss": 1 / epoch, "val_loss": number + 1 / epoch})
            record.epoch(end)
            if epoch <= told:
                self.tell(self.mirror.on_epoch_end, trial, EpochReported(seed, end))

    def end(self, number: int, outcome: str, seed: int = 0) -> None:
        """A seed is over."""
        end = run_end(outcome=outcome, epochs=4, value=number + 0.25, best={"val_loss": number + 0.25})
        self.tell(self.mirror.on_run_end, self.trials[number], RunEnded(seed, end))

    def over(self, number: int, outcome: str, cause: str = "", **values: float) -> None:
        """A trial is over."""
        trial = self.trials[number]
        if outcome == "interrupted":
            self.tell(self.mirror.on_trial_release, trial)
            return
        finished = TrialFinished(Outcome(outcome), cause)
        result = TrialResult(finished.outcome, values, finished, (), None)
        self.tell(self.mirror.on_trial_end, trial, result)

    def whole(self, numbers: list[int]) -> None:
        """Trials from their begin to their end."""
        for number in numbers:
            self.train(number, 1, 4)
            self.end(number, "completed")
            self.over(number, "completed", val_loss=number + 0.25)

    def logged(self, number: int, epochs: int) -> None:
        """Wait until W&B has written so many epochs of a trial to its file."""
        folder = self.folder / f"trial_{number:05d}" / "wandb"
        while not list(folder.glob("*run-2*/*.wandb")):
            time.sleep(0.1)
        from tests.wandb_files import read_run  # not while another thread imports wandb

        while not any(len(read_run(path).steps) >= epochs for path in folder.glob("*run-2*")):
            time.sleep(0.1)

    def kill_service(self) -> None:
        kill_service()

    def study(self, trials: int) -> None:
        """The study is over: the first trial was pruned, the last one failed, the others are done."""
        study = optuna.create_study()
        for number in range(trials):
            state = {0: TrialState.PRUNED, trials - 1: TrialState.FAIL}.get(number, TrialState.COMPLETE)
            attributes = {"outcome": state.name.lower(), "epochs": 4, "seconds": 2.5}
            study.add_trial(
                create_trial(
                    params={"optimizer.lr": number / 10},
                    distributions={"optimizer.lr": FloatDistribution(0.0, 1.0)},
                    value=number + 0.25 if state == TrialState.COMPLETE else None,
                    state=state,
                    user_attrs=attributes,
                )
            )
        self.tell(self.mirror.on_study_end, study, study.best_trial)

    def close(self) -> None:
        began = time.monotonic()
        self.mirror.close()
        self.close_seconds = time.monotonic() - began


def main(folder: Path, scene: dict[str, Any]) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    stage = Scene(folder, scene["config"])
    for name, *arguments in scene["steps"]:
        named = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
        getattr(stage, name)(*arguments, **named)
    said = {"notes": stage.notes, "worst": stage.worst, "close": stage.close_seconds}
    said |= {"threads": threading.active_count(), "wandb": "wandb" in sys.modules, "ended": time.time()}
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
