"""The curve it fits, the rule it prunes by, and that storage alone decides."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from lab.hpo.pfl import Exponential, PredictedFinalLoss, fit

ROOT = Path(__file__).parents[3]
EPOCHS = 20
optuna.logging.set_verbosity(optuna.logging.ERROR)


def curve(a: float, b: float, c: float, epochs: int = EPOCHS) -> list[float]:
    return [a * math.exp(-b * t) + c for t in range(1, epochs + 1)]


def study_of(*trials: tuple[TrialState, list[float]], direction: str = "minimize") -> optuna.Study:
    """A study in memory with these finished trials; a trial's value is its best."""
    study = optuna.create_study(direction=direction)
    best = min if direction == "minimize" else max
    for state, values in trials:
        value = best(values) if state == TrialState.COMPLETE else None
        add(study, state, dict(enumerate(values, 1)), value)
    return study


def add(study: optuna.Study, state: TrialState, steps: dict[int, float], value: float | None = None) -> None:
    study.add_trial(create_trial(state=state, value=value, intermediate_values=steps))


def pruned_at(pruner: PredictedFinalLoss, study: optuna.Study, values: list[float]) -> int | None:
    """The step after which a new trial with these values ends; None where it runs to its end."""
    trial = study.ask()
    for step, value in enumerate(values, 1):
        trial.report(value, step)
        if pruner.prune(study, study.get_trials()[trial.number]):
            return step
    return None


GOOD = (TrialState.COMPLETE, curve(1.0, 0.4, 0.1))


@given(
    a=st.floats(0.05, 10) | st.floats(-10, -0.05),
    b=st.floats(0.02, 2.0),
    c=st.floats(-5, 5),
    count=st.integers(4, 20),
)
def test_a_noiseless_curve_is_recovered(a: float, b: float, c: float, count: int) -> None:
    found = fit(tuple(map(float, range(1, count + 1))), tuple(curve(a, b, c, count)))
    assert found.b == pytest.approx(b, rel=1e-3)
    assert found.a == pytest.approx(a, rel=1e-3)
    assert found.c == pytest.approx(c, abs=1e-3 * (1 + abs(a)))
    assert found(EPOCHS) == pytest.approx(a * math.exp(-b * EPOCHS) + c, abs=1e-3)


def test_three_points_are_met_exactly() -> None:
    found = fit((1.0, 2.0, 5.0), (2.0, 1.5, 1.1))
    assert [found(t) for t in (1, 2, 5)] == pytest.approx([2.0, 1.5, 1.1], abs=1e-9)


def test_gaps_between_the_epochs_do_not_matter() -> None:
    values = curve(2.0, 0.3, 0.5)
    kept = [1, 2, 4, 8, 9, 15]
    found = fit(tuple(map(float, kept)), tuple(values[epoch - 1] for epoch in kept))
    assert (found.a, found.b, found.c) == pytest.approx((2.0, 0.3, 0.5), rel=1e-5)


def test_a_flat_curve_stays_flat() -> None:
    assert fit((1.0, 2.0, 3.0), (0.7, 0.7, 0.7)) == Exponential(0.0, 1e-3, 0.7)
    assert fit((1.0, 2.0, 3.0), (0.0, 0.0, 0.0))(EPOCHS) == 0.0


def test_one_wild_value_does_not_bend_the_curve() -> None:
    values = curve(2.0, 0.3, 0.5, 10)
    values[6] += 30.0
    assert fit(tuple(map(float, range(1, 11))), tuple(values))(EPOCHS) == pytest.approx(0.5, abs=0.03)


def test_noise_is_averaged() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(50):
        noisy = np.array(curve(2.0, 0.3, 0.5, 12)) + rng.normal(0, 0.02, 12)
        errors.append(fit(tuple(map(float, range(1, 13))), tuple(noisy))(EPOCHS) - 0.505)
    assert np.std(errors) < 0.04
    assert abs(np.mean(errors)) < 0.02


def test_no_rate_below_the_slowest_is_tried() -> None:
    line = tuple(5.0 - 0.1 * t for t in range(1, 11))
    found = fit(tuple(map(float, range(1, 11))), line, 0.2)
    assert found.b == pytest.approx(0.2)
    assert found(EPOCHS) > 3.5  # a straight line would lead to 3.0


def test_an_exponential_is_what_it_says() -> None:
    assert Exponential(2.0, 0.5, 1.0)(4) == pytest.approx(2.0 * math.exp(-2.0) + 1.0)


@pytest.mark.parametrize("name", ["epochs", "top_k", "min_epochs", "seeds"])
def test_a_count_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, found 0"):
        PredictedFinalLoss(**{"epochs": 20, name: 0})


def test_a_worse_trial_ends_and_a_better_one_does_not() -> None:
    study = study_of(GOOD, GOOD, GOOD)
    pruner = PredictedFinalLoss(EPOCHS)
    assert pruned_at(pruner, study, curve(1.0, 0.4, 0.3)) == 1
    assert pruned_at(pruner, study, curve(1.0, 0.4, 0.1)) is None
    assert pruned_at(pruner, study, curve(1.0, 0.4, 0.05)) is None


def test_the_prediction_decides_and_not_the_present_value() -> None:
    """Both stand where the best stood; one falls on, the other has levelled off."""
    study = study_of(GOOD, GOOD, GOOD)
    start = 1.0 * math.exp(-0.4) + 0.1
    falling = [start, *curve(1.2, 0.35, 0.02)[1:]]
    level = [start, *[0.55 - 0.01 * epoch for epoch in range(2, EPOCHS + 1)]]
    assert falling[3] > curve(1.0, 0.4, 0.1)[3] - 0.2
    assert pruned_at(PredictedFinalLoss(EPOCHS, min_epochs=4), study, falling) is None
    assert pruned_at(PredictedFinalLoss(EPOCHS, min_epochs=4), study, level) == 4


def test_a_trial_behind_the_best_that_falls_faster_is_left_alone() -> None:
    """At epoch 4 it is worse than the best were by then, and still predicted to end better."""
    best = (TrialState.COMPLETE, curve(0.5, 0.3, 0.30))
    late = curve(3.0, 0.4, 0.05)
    assert late[3] > best[1][3]
    assert pruned_at(PredictedFinalLoss(EPOCHS, min_epochs=4), study_of(best, best, best), late) is None


def test_slow_starters_among_the_best_protect_others() -> None:
    """The formula calls their start hopeless; so it may not condemn another that starts like them."""
    late = [2.0] * 8 + [2.0 - 0.15 * k for k in range(1, 13)]
    kind = (TrialState.COMPLETE, late)
    assert pruned_at(PredictedFinalLoss(EPOCHS), study_of(kind, kind, kind), late) is None
    assert pruned_at(PredictedFinalLoss(EPOCHS), study_of(GOOD, GOOD, GOOD), late) == 1


def test_a_bad_spell_of_the_best_protects_others_up_to_it() -> None:
    """They were predicted to end at 0.5 by epoch 4, above 1.5 by epoch 8, and came to 0.1."""
    spell = (TrialState.COMPLETE, [0.5] * 4 + [1.5] * 4 + [0.1] * 12)
    pruner = PredictedFinalLoss(EPOCHS, min_epochs=4, returns="last")
    assert pruned_at(pruner, study_of(spell, spell, spell), [0.8] * EPOCHS) == 16


def test_it_waits_for_top_k_finished_trials() -> None:
    bad = curve(1.0, 0.4, 0.9)
    for count in (0, 1, 2, 3, 4):
        found = pruned_at(PredictedFinalLoss(EPOCHS, top_k=3), study_of(*[GOOD] * count), bad)
        assert found == (1 if count >= 3 else None)


def test_the_best_are_a_quarter_at_most_and_top_k_at_most() -> None:
    """With the ends 0.1, 0.2, …, a trial must beat the second of 5, and the third of 12 or of 30."""
    for count, rank in ((4, 1), (5, 2), (12, 3), (30, 3)):
        trials = [(TrialState.COMPLETE, curve(1.0, 0.4, 0.1 * k)) for k in range(1, count + 1)]
        pruner = PredictedFinalLoss(EPOCHS)
        assert pruned_at(pruner, study_of(*trials), curve(1.0, 0.4, 0.1 * rank + 0.02)) == 1
        assert pruned_at(pruner, study_of(*trials), curve(1.0, 0.4, 0.1 * rank - 0.02)) is None


def test_pruned_trials_count_by_their_prediction_and_failed_ones_not_at_all() -> None:
    unlucky = (TrialState.PRUNED, curve(1.0, 0.4, 0.1)[:6])  # another pruner had ended it
    candidate = curve(1.0, 0.4, 0.2)
    poor = (TrialState.COMPLETE, curve(1.0, 0.4, 0.9))
    pruner = PredictedFinalLoss(EPOCHS)
    assert pruned_at(pruner, study_of(unlucky, poor, poor), candidate) == 1
    assert pruned_at(pruner, study_of((TrialState.FAIL, unlucky[1]), poor, poor, poor), candidate) is None


def test_diverged_trials_are_finished_and_infinitely_bad() -> None:
    study = study_of(GOOD)
    add(study, TrialState.COMPLETE, {1: 2.0}, math.inf)
    add(study, TrialState.COMPLETE, {}, math.inf)
    assert pruned_at(PredictedFinalLoss(EPOCHS), study, curve(1.0, 0.4, 0.2)) == 1
    hopeless = study_of()
    for _ in range(3):
        add(hopeless, TrialState.COMPLETE, {}, math.inf)
    assert pruned_at(PredictedFinalLoss(EPOCHS), hopeless, curve(1.0, 0.4, 9.0)) is None


def test_values_that_are_not_finite_are_passed_over() -> None:
    study = study_of(GOOD, GOOD, GOOD)
    pruner = PredictedFinalLoss(EPOCHS)
    better = curve(1.0, 0.4, 0.05)
    better[2], better[7] = math.nan, math.inf
    assert pruned_at(pruner, study, better) is None
    assert pruned_at(pruner, study, [math.nan] * EPOCHS) is None
    assert pruned_at(pruner, study, [math.nan, *curve(1.0, 0.4, 0.9)[1:]]) == 2
    gap = [0.9, math.nan, 0.9, 0.9, *[0.9] * 16]
    assert pruned_at(PredictedFinalLoss(EPOCHS, min_epochs=4), study, gap) == 4


@pytest.mark.parametrize(
    ("least", "looks"), [(1, {1, 2, 4, 8, 16}), (3, {3, 6, 12}), (5, {5, 10}), (20, set())]
)
def test_it_looks_at_doubled_epochs_and_never_at_the_last(least: int, looks: set[int]) -> None:
    pruner, study, found = PredictedFinalLoss(EPOCHS, min_epochs=least), study_of(GOOD, GOOD, GOOD), set()
    trial = study.ask()
    for epoch in range(1, EPOCHS + 1):
        trial.report(5.0, epoch)
        if pruner.prune(study, study.get_trials()[trial.number]):
            found.add(epoch)
    assert found == looks


def test_a_look_is_not_missed_where_an_epoch_was_not_reported() -> None:
    study = study_of(GOOD, GOOD, GOOD)
    trial = study.ask()
    for epoch in (3, 5):  # 4 is missing
        trial.report(2.0, epoch)
    assert PredictedFinalLoss(EPOCHS).prune(study, study.get_trials()[trial.number])


def test_a_best_value_so_far_counts_where_the_best_is_returned() -> None:
    """It was the best of all at epoch 3 and got worse again: as a run it is worth that best value."""
    overfitted = [0.6, 0.2, 0.05, *[0.05 + 0.05 * k for k in range(1, 18)]]
    study = study_of(GOOD, GOOD, GOOD)
    assert pruned_at(PredictedFinalLoss(EPOCHS, returns="best"), study, overfitted) is None
    assert pruned_at(PredictedFinalLoss(EPOCHS, returns="last"), study, overfitted) == 8


def test_each_seed_is_compared_with_the_same_one_of_the_best() -> None:
    """Two seeds: the second segment's means are higher for all, and only the second seed of one is bad."""
    first, second = curve(1.0, 0.4, 0.1), curve(1.0, 0.4, 0.4)
    study = optuna.create_study()
    for _ in range(3):
        add(study, TrialState.COMPLETE, dict(enumerate(first + second, 1)), 0.4)
    pruner = PredictedFinalLoss(EPOCHS, seeds=2)
    assert pruned_at(pruner, study, first + second) is None
    assert pruned_at(pruner, study, first + curve(1.0, 0.4, 0.6)) == EPOCHS + 1
    worse_in_the_first = pruned_at(pruner, study, curve(1.0, 0.4, 0.45) + second)
    assert worse_in_the_first == 1
    assert pruned_at(PredictedFinalLoss(EPOCHS, seeds=1), study, first + [9.0] * EPOCHS) is None


histories = st.lists(
    st.tuples(
        st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED]),
        st.lists(st.floats(-10, 10), min_size=1, max_size=EPOCHS),
    ),
    min_size=3,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(history=histories, new=st.lists(st.floats(-10, 10), min_size=1, max_size=EPOCHS))
def test_a_flipped_direction_gives_the_same_verdict(
    history: list[tuple[TrialState, list[float]]], new: list[float]
) -> None:
    flipped = [(state, [-value for value in values]) for state, values in history]
    lower = pruned_at(PredictedFinalLoss(EPOCHS), study_of(*history), new)
    higher = pruned_at(
        PredictedFinalLoss(EPOCHS), study_of(*flipped, direction="maximize"), [-value for value in new]
    )
    assert lower == higher


VERDICTS = """
import json, sys
import optuna
from lab.hpo.pfl import PredictedFinalLoss
study = optuna.load_study(study_name="s", storage=sys.argv[1])
pruner = PredictedFinalLoss(20)
running = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
print(json.dumps([pruner.prune(study, trial) for trial in running]))
"""


def test_storage_alone_decides(tmp_path: Path) -> None:
    """The process that ran the study, a fresh one, and the study opened again agree on every open trial."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    study = optuna.create_study(study_name="s", storage=url)
    pruner = PredictedFinalLoss(EPOCHS)
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(12):
        trial = study.ask({"x": FloatDistribution(0, 1)})
        values = np.array(curve(*rng.uniform((0.5, 0.2, 0.0), (2.0, 0.8, 0.5)))) + rng.normal(0, 0.02, EPOCHS)
        for epoch, value in enumerate(values.tolist(), 1):
            trial.report(value, epoch)
            if pruner.prune(study, study.get_trials()[trial.number]):
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, float(values.min()))
        ends.append(epoch)
    assert min(ends) < EPOCHS == max(ends)  # pruning was at work
    for c in np.linspace(0.0, 0.5, 12):
        trial = study.ask()
        for epoch, value in enumerate(curve(1.0, 0.4, float(c), 8), 1):
            trial.report(value, epoch)
    running = study.get_trials(states=[TrialState.RUNNING])
    here = [pruner.prune(study, trial) for trial in running]
    opened = optuna.load_study(study_name="s", storage=url)
    fresh = PredictedFinalLoss(EPOCHS)
    assert [fresh.prune(opened, trial) for trial in opened.get_trials()[12:]] == here
    done = subprocess.run(
        [sys.executable, "-c", VERDICTS, url], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == here
    assert True in here and False in here


def test_a_whole_study_prunes_and_keeps_its_best() -> None:
    def objective(trial: optuna.Trial) -> float:
        c = trial.suggest_float("c", 0.0, 1.0)
        values = curve(1.0, 0.4, c)
        for epoch, value in enumerate(values, 1):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return values[-1]

    study = optuna.create_study(
        sampler=optuna.samplers.RandomSampler(seed=0), pruner=PredictedFinalLoss(EPOCHS)
    )
    study.optimize(objective, n_trials=30)
    states: dict[Any, int] = {}
    for trial in study.trials:
        states[trial.state] = states.get(trial.state, 0) + 1
    assert states[TrialState.PRUNED] >= 20
    assert study.best_trial.params["c"] == min(trial.params["c"] for trial in study.trials)
