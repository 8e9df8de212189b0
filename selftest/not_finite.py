"""NaN and infinities in loss, gradient and metric of trials, under every pruner and in both directions."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.checkpoint import CheckpointError, load
from lab.config import RunConfig
from lab.config.optimize_config import OptimizeConfig
from lab.events import RunResult
from lab.hpo import study
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.worker_main import Run
from lab.report.trial_ranking import ranked
from lab.store import file_io, run_folder
from selftest.bench import Bench, Process, in_order
from selftest.studies import small_study
from selftest.verdict import Tally, Verdict

URL = "sqlite:///studies.db"
PRUNERS: Sequence[Mapping[str, Any]] = (
    {"target": "optuna.pruners.NopPruner"},
    {"target": "optuna.pruners.MedianPruner", "n_startup_trials": 0},
    {"target": "optuna.pruners.PercentilePruner", "percentile": 25.0, "n_startup_trials": 0},
    {"target": "optuna.pruners.PatientPruner", "wrapped_pruner": None, "patience": 0},
    {"target": "optuna.pruners.ThresholdPruner", "lower": -1e9, "upper": 1e9},
    {"target": "optuna.pruners.SuccessiveHalvingPruner"},
    {"target": "optuna.pruners.HyperbandPruner"},
    {"target": "optuna.pruners.WilcoxonPruner"},
    {"target": "lab.hpo.pfl.PredictedFinalLoss"},
)
MODES = ("min", "max")
PLACES, VALUES = ("loss", "gradient", "metric"), ("nan", "inf", "-inf")
KINDS = tuple((place, value) for place in PLACES for value in VALUES)
_BATCHES, _EPOCHS = 4, 3
_NOTES, _STEPS = "notes.jsonl", "steps.txt"
_LONGEST = 300.0  # seconds of a study


def cases(count: int) -> list[tuple[int, str, str, str]]:
    """The first of all cases: pruner, mode, place, value; nine in a row have nine pruners and nine faults."""
    return [
        (pruner, MODES[(block // len(KINDS) + pruner) % 2], *KINDS[(block + pruner) % len(KINDS)])
        for block in range(len(KINDS) * len(MODES))
        for pruner in range(len(PRUNERS))
    ][:count]


def not_finite(bench: Bench, count: int) -> Verdict:
    """Let trials that were the best so far go bad in their second epoch, among good ones.

    The faults of one pruner and direction are trials of one study, each after a good one.
    """
    grouped: dict[tuple[int, str], list[tuple[str, str]]] = defaultdict(list)
    for pruner, mode, place, value in cases(count):
        # A good trial before each fault, so that the faulty one competes with it.
        grouped[pruner, mode] += [("none", "nan"), (place, value)]

    def begun() -> Iterator[tuple[tuple[int, str, Path], Process]]:
        for (pruner, mode), points in grouped.items():
            folder, ends = bench.folder(f"pruner-{pruner}-{mode}"), [*points, ("none", "nan")]
            yield (pruner, mode, folder), bench.fork(folder, conduct, bench.run, pruner, mode, ends)

    after, kept = "steps trained after it", "stopped with its checkpoint"
    tally = Tally({"faults": 0, after: 0, "best": 0, kept: 0})
    for (pruner, mode, folder), done in in_order(begun(), _LONGEST):
        name = f"{PRUNERS[pruner]['target'].rpartition('.')[2]}, {mode}"
        if not tally.expect(done.code == 0, f"{name}: expected exit code 0, found {done.code}: {done.last}"):
            continue
        for found in json.loads((folder / _NOTES).read_text()):
            faulty = found["place"] != "none"
            right = tally.take(f"{name}, {found['value']} in {found['place']}", judge(found))
            tally.most(after, found["steps after"])
            tally.add("faults", faulty)
            tally.add("best", faulty and found["best"])
            tally.add(kept, faulty and right)
        bench.report(f"{tally.figures['faults']} of {count} faults, {len(tally.broken)} not as promised")
    return tally.verdict()


def conduct(run: Run, pruner: int, mode: str, points: Sequence[tuple[str, str]]) -> None:
    """Do the study in the working folder, and write down what became of each of its trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept: dict[int, dict[str, Any]] = {}

    def watched(run_config: RunConfig, *, run_dir: Path, **options: Any) -> RunResult:
        result = run(run_config, run_dir=run_dir, **options)
        kept[int(run_dir.name.rpartition("_")[2])] = look(run_dir)  # before the study removes weights
        return result

    config = souring(pruner, mode, len(points))
    opened = open_study(config, Database(config.storage))
    for quality, (place, value) in enumerate(points, 1):
        opened.enqueue_trial({"net.quality": quality, "net.place": place, "net.value": value})
    study.optimize(config, watched, console="plain")
    done = optuna.load_study(study_name=config.study_name, storage=Database(config.storage).backend)
    order = ranked(done.trials, done.directions)
    steps = [tuple(map(int, line.split())) for line in Path(_STEPS).read_text(encoding="utf-8").splitlines()]
    described = [
        describe(trial, kept.get(trial.number, {}), steps)
        | {"best": trial.number in (done.best_trial.number, order[0].number), "mode": mode}
        for trial in done.trials
    ]
    file_io.atomic_write(Path(_NOTES), file_io.to_json(described))


def souring(pruner: int, mode: str, n_trials: int) -> OptimizeConfig:
    """The study of one pruner and direction."""
    net = {"target": "selftest.faulty_parts.Souring", "batches": _BATCHES, "sign": 1 if mode == "min" else -1,
           "quality": 1, "place": "none", "value": "nan", "note": _STEPS}  # fmt: skip
    return small_study(
        URL,
        n_trials,
        pruner=PRUNERS[pruner],
        search_space={
            "net.quality": {"type": "int", "low": 1, "high": 1000},
            "net.place": {"type": "categorical", "choices": ["none", *PLACES]},
            "net.value": {"type": "categorical", "choices": list(VALUES)},
        },
        run__net=net,
        run__data={"target": "lab.data.function", "train_count": 8 * _BATCHES, "val_count": 8},
        run__batch_size=8,
        run__epochs=_EPOCHS,
        run__task="lab.tasks.Task",
        run__criterion="selftest.faulty_parts.FirstColumn",
        run__metrics={"level": "selftest.faulty_parts.Level"},
        run__monitor={"metric": "val_level", "mode": mode},
        run__optimizer={"target": "torch.optim.SGD", "lr": 1e-6},
        run__check_gradients=True,
        run__early_stopping_config={"enabled": False},
    )


def look(folder: Path) -> dict[str, object]:
    """The epoch that each checkpoint of a run is of, where its weights are finite."""
    found: dict[str, object] = {}
    for name in ("last.pt", "best.pt"):
        try:
            content = load(folder / run_folder.CHECKPOINTS / name)
        except CheckpointError as error:
            found[name] = str(error)
            continue
        finite = all(bool(weight.isfinite().all()) for weight in content["model"].values())
        found[name] = content["course"]["epoch"] if finite else "not finite"
    return found


def describe(
    trial: FrozenTrial, kept: Mapping[str, object], steps: Iterable[tuple[int, ...]]
) -> dict[str, object]:
    """The end of a trial, as plain data."""
    quality, place = trial.params["net.quality"], trial.params["net.place"]
    allowed = {"none": _BATCHES * _EPOCHS, "metric": 2 * _BATCHES}.get(place, _BATCHES + 2)
    mine = [step for other, step in steps if other == quality]
    reported = trial.intermediate_values
    return {
        "place": place,
        "value": trial.params["net.value"],
        "state": trial.state.name,
        "worth": [repr(value) for value in trial.values or ()],
        "outcome": trial.user_attrs.get("outcome"),
        "cause": trial.user_attrs.get("cause", ""),
        "reported": {str(epoch): repr(value) for epoch, value in reported.items()},
        "steps after": max(0, max(mine, default=0) - allowed),
        **kept,
    }


def judge(found: Mapping[str, Any]) -> list[str]:
    """Judge the end of a trial."""
    place, value = found["place"], found["value"]
    if place == "none":
        ended = found["outcome"] == "completed" and found["state"] == TrialState.COMPLETE.name
        line = f"expected the good trials to complete, found {found['outcome']}: {found['cause']}"
        return [line] * (not ended)
    norm = "nan" if value == "nan" else "inf"
    cause = {
        "loss": f"train loss is {value} at step 2 of epoch 2",
        "gradient": f"gradient norm is {norm} at step 2 of epoch 2",
        "metric": f"val_level is {value} in epoch 2",
    }[place]
    worst = repr(math.inf if found["mode"] == "min" else -math.inf)
    expected = {
        "outcome": "diverged",
        "cause": cause,
        "steps after": 0,
        "best": False,
        "worth": [worst],
        "last.pt": 1,
        "best.pt": 1,
    }
    faults = [
        f"{name}: expected {wanted}, found {found.get(name)}"
        for name, wanted in expected.items()
        if found.get(name) != wanted
    ]
    finite = all(math.isfinite(float(each)) for each in found["reported"].values())
    if found.get("best") is False and not finite:
        faults.append(f"expected finite values for the pruner, found {found['reported']}")
    return faults
