"""Epochs until a study has one of the best 2 % of a table of real learning curves, by pruner.

    python -m benchmarks.pruning [--seeds 100] [--build]

The table (`benchmarks/data/curves.csv.gz`) holds 200 trainings of small CNNs and 200 of MLPs on the digits,
20 epochs each. A study takes them in random order, the same for all pruners, reports a validation loss per
epoch as a real study would, and ends when a training that is among the best 2 % by its best loss was
completed. Where that never happens, for it was pruned, the study counts as endless. Pruners have their
defaults, and what `lab.hpo.samplers.create_pruner` would pass to them.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna import pruners
from optuna.trial import TrialState

from benchmarks import curves
from benchmarks.curves import EPOCHS, Curve
from lab.hpo.pfl import PredictedFinalLoss

SHARE = 0.02
Maker = Callable[[], pruners.BasePruner]
PRUNERS: dict[str, Maker] = {
    "none": pruners.NopPruner,
    "median": pruners.MedianPruner,
    "percentile 25": lambda: pruners.PercentilePruner(25.0),
    "successive halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=1),
    "Hyperband": lambda: pruners.HyperbandPruner(max_resource=EPOCHS),
    "patient 3": lambda: pruners.PatientPruner(None, patience=3),
    "patient 1 + median": lambda: pruners.PatientPruner(pruners.MedianPruner(), patience=1),
    "threshold, worse than a guess": lambda: pruners.ThresholdPruner(upper=math.log(10), n_warmup_steps=3),
    "Wilcoxon, not made for curves": pruners.WilcoxonPruner,
    "predicted final loss": lambda: PredictedFinalLoss(EPOCHS),
}


def epochs_to_best(table: Sequence[Curve], make: Maker, seed: int) -> float:
    """Epochs that a study spends until it has completed one of the best; infinite where it never does."""
    best = set(np.argsort([curve.value for curve in table])[: round(SHARE * len(table))].tolist())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0), pruner=make())
    spent = 0
    for index in np.random.default_rng(seed).permutation(len(table)):
        trial = study.ask()
        pruned = False
        for epoch, loss in enumerate(table[index].losses, 1):
            trial.report(loss, epoch)
            spent += 1
            pruned = epoch < EPOCHS and trial.should_prune()
            if pruned:
                break
        if pruned:
            study.tell(trial, state=TrialState.PRUNED)
            continue
        study.tell(trial, table[index].value)
        if index in best:
            return spent
    return math.inf


def measure(table: Sequence[Curve], make: Maker, seeds: int) -> NDArray[np.float64]:
    """The same for each seed."""
    return np.array([epochs_to_best(table, make, seed) for seed in range(seeds)])


def shown(value: float) -> str:
    """A number of epochs; a dash for infinity."""
    return f"{value:.0f}" if math.isfinite(value) else "–"


def main() -> None:
    """Print a table for the CNNs and one for the MLPs."""
    options = argparse.ArgumentParser(description="Epochs to the best 2 %, by pruner.")
    options.add_argument("--seeds", type=int, default=100)
    options.add_argument("--build", action="store_true", help="retrain the table, about 6 minutes of CPU")
    options.add_argument("--workers", type=int, default=1, help="processes that train it")
    chosen = options.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if chosen.build:
        curves.build(chosen.workers)
        return
    for kind, table in curves.read().items():
        print(f"{kind}: {len(table)} trainings of {EPOCHS} epochs, {chosen.seeds} seeds")
        print(f"  {'pruner':<32}{'epochs':>8}{'quartiles':>16}{'÷ none':>8}{'reached':>9}{'seconds':>9}")
        reference = math.nan
        for name, make in PRUNERS.items():
            started = time.perf_counter()
            spent = measure(table, make, chosen.seeds)
            low, middle, high = np.quantile(spent, [0.25, 0.5, 0.75], method="inverted_cdf")
            reference = middle if name == "none" else reference
            quartiles = f"{shown(low)} to {shown(high)}"
            ratio = f"{middle / reference:.2f}" if math.isfinite(middle) else "–"
            reached = f"{np.isfinite(spent).mean():.0%}"
            seconds = time.perf_counter() - started
            print(f"  {name:<32}{shown(middle):>8}{quartiles:>16}{ratio:>8}{reached:>9}{seconds:>9.1f}")


if __name__ == "__main__":
    main()
