"""What Optuna is told."""

import math

import pytest
from optuna.trial import TrialState

from lab.config.sections import Monitor
from lab.events import Outcome
from lab.hpo.trial_states import STATES, judged, objectives
from lab.hpo.worker_main import TrialFinished

SEVERAL = Monitor.model_validate(
    {"metric": "val_dice", "mode": "max",
     "also": [{"metric": "parameters", "mode": "min"}, {"metric": "val_loss", "mode": "min"}]}
)  # fmt: skip


def test_every_outcome_has_a_state_and_no_fault_is_pruned() -> None:
    assert set(STATES) == set(Outcome)
    assert [name for name, state in STATES.items() if state == TrialState.PRUNED] == ["pruned", "infeasible"]
    assert {STATES[Outcome.FAILED], STATES[Outcome.TIMED_OUT]} == {TrialState.FAIL}


def test_values_come_from_the_best_epoch_or_from_the_last() -> None:
    finished = TrialFinished(
        Outcome.COMPLETED, "", value=0.9, best={"val_dice": 0.9, "val_loss": 0.25}, last={"val_loss": 0.125},
        parameters=300,
    )  # fmt: skip
    assert objectives(SEVERAL, finished) == [0.9, 300.0, 0.25]
    assert objectives(SEVERAL.model_copy(update={"returns": "last"}), finished) == [0.9, 300.0, 0.125]


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {"completed", "early_stopped"}))
def test_what_is_no_success_is_infinitely_bad(outcome: Outcome) -> None:
    finished = TrialFinished(outcome, "", value=0.99, best={"val_loss": 0.0}, parameters=1)
    assert objectives(SEVERAL, finished) == [-math.inf, math.inf, math.inf]
    assert judged(outcome, objectives(SEVERAL, finished)) == outcome


def test_a_value_that_is_missing_or_not_finite_makes_the_trial_diverged() -> None:
    finished = TrialFinished(Outcome.COMPLETED, "", value=math.nan, best={"val_loss": 0.5})
    values = objectives(SEVERAL, finished)
    assert values == [-math.inf, 0.0, 0.5] and judged(Outcome.COMPLETED, values) == "diverged"
    assert judged(Outcome.EARLY_STOPPED, [1.0, 2.0]) == "early_stopped"
