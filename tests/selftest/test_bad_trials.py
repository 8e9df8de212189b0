"""The ruler of bad trials: what a trial of which a fault was asked has to look like in the end."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from selftest.bad_trials import judge_bad, judge_killers

SPACE: dict[str, Any] = {
    "net.fault": CategoricalDistribution(["none", "segfault", "exit"]),
    "net.width": IntDistribution(4, 99),
}
CRASH = "its process was ended by SIGSEGV; tried 2 times, and quarantined"
EXIT = "its process ended with exit code 7; tried 2 times, and quarantined"


def trial(number: int, fault: str, outcome: str, cause: str = "", width: int = 4, **more: Any) -> FrozenTrial:
    good = outcome == "completed"
    made = create_trial(
        state=TrialState.COMPLETE if good else TrialState.FAIL,
        value=1.0 if good else None,
        params={"net.fault": fault, "net.width": width},
        distributions=SPACE,
        user_attrs={"outcome": outcome, "cause": cause, "attempts": 1, **more},
    )
    made.number = number
    return made


def page(number: int, cause: str, quarantined: str = "") -> str:
    return (
        f'What went wrong <tr><th scope="row">{number}</th><td class="wrap">{cause}</td></tr>'
        f'<h3 id="quarantine">{quarantined}'
    )


GOOD = trial(0, "none", "completed")


def test_good_and_bad_as_they_should_be() -> None:
    assert (
        list(judge_bad([GOOD, trial(1, "segfault", "failed", CRASH)], ["none", "segfault"], page(1, CRASH)))
        == []
    )


@pytest.mark.parametrize(
    ("bad", "text", "what"),
    [
        (trial(0, "none", "failed", "boom"), "", "trial 0 (none): failed, expected completed: boom"),
        (trial(1, "segfault", "completed", CRASH), page(1, CRASH), "completed, expected failed"),
        (trial(1, "segfault", "failed", "who knows"), page(1, "who knows"), "the cause is 'who knows'"),
        (trial(1, "segfault", "failed", CRASH), page(2, CRASH), "the report doesn't have its cause"),
    ],
)
def test_what_a_bad_trial_lacks(bad: FrozenTrial, text: str, what: str) -> None:
    (line,) = judge_bad([bad], [bad.params["net.fault"]], text)
    assert what in line


def test_a_trial_that_is_missing() -> None:
    assert list(judge_bad([GOOD], ["none", "none"], "")) == ["1 trials, expected 2"]


KILLER = trial(1, "exit", "failed", EXIT, width=5)
NAMED = page(1, EXIT, "<code>net.fault</code> exit, <code>net.width</code> 5")


def test_a_quarantine_as_it_should_be() -> None:
    again = trial(2, "exit", "failed", "not begun: it is that of trial 1, which is quarantined", width=5)
    assert list(judge_killers([GOOD, KILLER, again], ["exit 5"] * 2, NAMED)) == []


@pytest.mark.parametrize(
    ("found", "died", "text", "what"),
    [
        (KILLER, 3, NAMED, "tried 3 times, expected 2"),
        (KILLER, 2, page(1, EXIT), "not among the quarantined ones"),
        (trial(1, "exit", "failed", "it died", width=5), 2, NAMED, "names no quarantine"),
        (trial(0, "none", "completed", attempts=2), 0, "", "completed after 2 attempts"),
    ],
)
def test_what_a_quarantine_lacks(found: FrozenTrial, died: int, text: str, what: str) -> None:
    (line,) = judge_killers([found], ["exit 5"] * died, text)
    assert what in line
