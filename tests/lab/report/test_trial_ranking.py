import math
import random

import optuna
import pytest
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.report.trial_ranking import finished_well, front_numbers, ranked

MIN, MAX = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE


def trial(
    number: int, *values: float, state: TrialState = TrialState.COMPLETE, **attrs: object
) -> FrozenTrial:
    made = create_trial(state=state, values=list(values) or None, user_attrs=attrs)
    made.number = number
    return made


@pytest.mark.parametrize(
    ("made", "well"),
    [
        (trial(0, 0.5, outcome="completed"), True),
        (trial(0, 0.5, outcome="early_stopped"), True),
        (trial(0, 0.5, outcome="completed", forked_from="other 3"), True),
        (trial(0, 0.5), True),
        (trial(0, 0.5, outcome="diverged"), False),
        (trial(0, 0.5, outcome="out_of_memory"), False),
        (trial(0, math.inf, outcome="completed"), False),
        (trial(0, 0.5, -math.inf, outcome="completed"), False),
        (trial(0, 0.5, state=TrialState.PRUNED, outcome="pruned"), False),
        (trial(0, state=TrialState.FAIL, outcome="completed"), False),
        (trial(0, state=TrialState.RUNNING), False),
        (trial(0, state=TrialState.WAITING, outcome="interrupted"), False),
    ],
)
def test_finished_well(made: FrozenTrial, well: bool) -> None:
    assert finished_well(made) is well


@pytest.mark.parametrize(("direction", "order"), [(MIN, [2, 0, 4, 3]), (MAX, [3, 0, 4, 2])])
def test_one_objective_is_ranked_by_value_then_by_number(direction: StudyDirection, order: list[int]) -> None:
    trials = [
        trial(4, 0.5), trial(3, 0.9), trial(0, 0.5), trial(2, 0.1), trial(5, math.inf, outcome="diverged"),
        trial(6, -1.0, state=TrialState.PRUNED, outcome="pruned"), trial(7, state=TrialState.FAIL),
    ]  # fmt: skip
    assert [each.number for each in ranked(trials, [direction])] == order


def test_several_objectives_are_ranked_by_front_then_by_the_first() -> None:
    trials = [
        trial(0, 0.9, 300.0),  # the front: the best value
        trial(1, 0.7, 100.0),  # the front: the smallest
        trial(2, 0.8, 310.0),  # behind 0
        trial(3, 0.6, 100.0),  # behind 1
        trial(4, 0.5, 320.0),  # behind all
        trial(5, 0.95, math.inf),
    ]
    assert [each.number for each in ranked(trials, [MAX, MIN])] == [0, 1, 2, 3, 4]
    assert [each.number for each in ranked(trials, [MIN, MIN])] == [4, 3, 1, 2, 0]


def test_equal_points_share_a_front() -> None:
    assert front_numbers([(1.0, 1.0), (1.0, 1.0), (1.0, 2.0), (2.0, 2.0)]) == [0, 0, 1, 2]
    assert front_numbers([(3.0,), (1.0,)]) == [0, 0]
    assert front_numbers([]) == []


@pytest.mark.parametrize("objectives", [2, 3])
def test_the_first_front_is_optunas(objectives: int) -> None:
    rng = random.Random(objectives)
    study = optuna.create_study(directions=["maximize", *["minimize"] * (objectives - 1)])
    for _ in range(60):
        study.add_trial(create_trial(values=[rng.randint(0, 9) for _ in range(objectives)]))
    costs = [(-each.values[0], *each.values[1:]) for each in study.trials]
    first = {n for n, front in enumerate(front_numbers(costs)) if front == 0}
    assert first == {each.number for each in study.best_trials}
    assert {each.number for each in ranked(study.trials, study.directions)[: len(first)]} == first


def test_a_study_without_results_ranks_nothing() -> None:
    assert ranked([], [MIN, MAX]) == []
    assert ranked([trial(0, state=TrialState.FAIL)], [MIN]) == []
