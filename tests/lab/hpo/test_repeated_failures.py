"""When it is the code that fails."""

import optuna
import pytest
from optuna.trial import TrialState

from lab.hpo.repeated_failures import Failures


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study()


def add(study: optuna.Study, outcome: str, fault: str = "") -> None:
    trial = study.ask()
    trial.set_user_attr("outcome", outcome)
    trial.set_user_attr("fault", fault)
    trial.set_user_attr("cause", f"{fault}: it broke")
    if outcome == "completed":
        study.tell(trial, 1.0)
    else:
        study.tell(trial, state=TrialState.PRUNED if outcome in ("pruned", "infeasible") else TrialState.FAIL)


def test_the_same_failure_three_times_in_a_row(study: optuna.Study) -> None:
    failures = Failures(study, 3)
    add(study, "failed", "TypeError at net.py:3")
    add(study, "failed", "TypeError at net.py:3")
    assert failures.repeated() == ""
    add(study, "failed", "TypeError at net.py:3")
    assert failures.repeated() == "trials 0, 1, 2 failed alike: TypeError at net.py:3: it broke"


@pytest.mark.parametrize(
    "between", [("completed", ""), ("pruned", ""), ("failed", "ValueError at net.py:9"), ("timed_out", "")]
)
def test_anything_else_in_between_is_a_reason_to_go_on(study: optuna.Study, between: tuple[str, str]) -> None:
    failures = Failures(study, 3)
    for outcome, fault in [("failed", "E at a:1"), ("failed", "E at a:1"), between, ("failed", "E at a:1")]:
        add(study, outcome, fault)
        assert failures.repeated() == ""


def test_infeasible_trials_neither_count_nor_break_the_row(study: optuna.Study) -> None:
    failures = Failures(study, 2)
    for outcome in ("infeasible", "infeasible", "failed", "infeasible"):
        add(study, outcome, "E at a:1" if outcome == "failed" else "")
        assert failures.repeated() == ""
    add(study, "failed", "E at a:1")
    assert failures.repeated() == "trials 2, 4 failed alike: E at a:1: it broke"


def test_a_space_without_a_feasible_trial_is_given_up_and_one_with_a_single_one_is_not(
    study: optuna.Study,
) -> None:
    failures = Failures(study, 3)
    for _ in range(19):
        add(study, "infeasible", "heads")
        assert failures.hopeless() == ""
    add(study, "infeasible", "depth")
    assert failures.hopeless() == (
        "none of 20 trials was feasible; the most frequent cause (19 times): heads: it broke"
    )
    add(study, "failed", "E at a:1")
    assert failures.hopeless() == ""


def test_other_outcomes_are_no_failures(study: optuna.Study) -> None:
    failures = Failures(study, 2)
    for _ in range(4):
        add(study, "timed_out", "")
    assert failures.repeated() == ""


def test_what_failed_before_this_process_began_is_forgiven(study: optuna.Study) -> None:
    for _ in range(3):
        add(study, "failed", "E at a:1")
    assert Failures(study, 3).repeated() == ""


def test_what_killed_its_process_is_known_again(study: optuna.Study) -> None:
    for width, quarantined in [(4, False), (5, True), (4, False), (5, False), (6, False)]:
        study.enqueue_trial({"width": width})
        trial = study.ask()
        trial.suggest_int("width", 1, 9)
        if quarantined:
            trial.set_user_attr("quarantined", True)
    failures = Failures(study, 3)
    assert [failures.quarantined(number) for number in range(5)] == [None, None, None, 1, None]
