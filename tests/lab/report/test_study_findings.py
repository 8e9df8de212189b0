import math
from pathlib import Path

import pytest

from lab.report import study_findings as findings
from lab.report.study_data import Candidate, Confirmation, Dimension, Objective, Study, Trial, read
from tests.lab.report import studies

DICE, LOSS = Objective("val_dice", True), Objective("val_loss", False)


def study(*trials: Trial, objectives: tuple[Objective, ...] = (DICE,), **parts: object) -> Study:
    """The trials with ranks from the order of their values."""
    about = {
        "name": "s", "folder": Path("s"), "objectives": objectives, "reported": objectives[0],
        "dimensions": (), "total": 20, "epochs_per_repeat": 10, **parts,
    }  # fmt: skip
    return Study(trials=trials, **about)  # type: ignore[arg-type]


def good(number: int, rank: int, *values: float, **parts: object) -> Trial:
    return Trial(number, "completed", values=values, rank=rank, **parts)  # type: ignore[arg-type]


def test_the_verdict_compares_with_the_median_and_the_first() -> None:
    made = study(good(0, 3, 0.5), good(1, 1, 0.8), good(2, 2, 0.75), Trial(3, "failed"))
    assert findings.verdict(made) == (
        "Trial 1 reached val_dice 0.8000, 0.0500 (6.7\u00a0%) better than the median of 3 finished trials "
        "and 0.3000 (60\u00a0%) better than the first (trial 0). Not confirmed on fresh seeds."
    )
    loss = study(good(0, 1, 0.25), good(1, 2, 0.5), objectives=(LOSS,))
    assert findings.verdict(loss) == (
        "Trial 0 reached val_loss 0.2500, 0.1250 (33\u00a0%) better than the median of 2 finished trials. "
        "Not confirmed on fresh seeds."
    )


def test_the_verdict_of_one_and_of_equal_trials() -> None:
    assert findings.verdict(study(good(4, 1, 0.8))).startswith(
        "Trial 4 reached val_dice 0.8000; it is the only trial with a result."
    )
    same = study(good(0, 1, 0.5), good(1, 2, 0.5), good(2, 3, 0.5))
    assert "no better than the median of 3 finished trials" in findings.verdict(same)


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ((), "No trial has been started yet."),
        ((Trial(0, "running"),), "The one trial has no result yet: 1 running."),
        (
            (Trial(0, "failed", "boom"), Trial(1, "failed", "boom"), Trial(2, "out_of_memory", "oom")),
            "None of 3 trials has a result: 1 out of memory, 2 failed. The most frequent cause: boom",
        ),
    ],
)
def test_the_verdict_without_a_winner_says_why(trials: tuple[Trial, ...], said: str) -> None:
    assert findings.verdict(study(*trials)) == said


def test_the_verdict_of_several_objectives_counts_the_front() -> None:
    size = Objective("parameters", False)
    trials = good(0, 1, 0.8, 300, on_front=True), good(1, 2, 0.5, 100, on_front=True), good(2, 3, 0.4, 200)
    assert findings.verdict(study(*trials, objectives=(DICE, size))) == (
        "2 of 3 finished trials are on the Pareto front; the best by val_dice is trial 0: val_dice 0.8000, "
        "parameters 300."
    )


@pytest.mark.parametrize(("ahead", "said"), [(1, "it stays ahead"), (2, "trial 2 is ahead of it")])
def test_fresh_seeds_may_prefer_another(ahead: int, said: str) -> None:
    means = {1: 0.7, 2: 0.7, ahead: 0.75}
    candidates = tuple(Candidate(n, (mean,), mean, mean - 0.01, mean + 0.01) for n, mean in means.items())
    made = study(
        good(1, 1, 0.8), good(2, 2, 0.78), confirmation=Confirmation(5, "val_dice", True, candidates, "")
    )
    assert findings.confirmed(made) == (
        f"On 5 fresh seeds {said}: val_dice 0.7500 (95\u00a0% interval 0.7400 to 0.7600)."
    )


def test_a_confirmation_without_values_confirms_nothing() -> None:
    nothing = Candidate(1, (math.nan,), math.nan, math.nan, math.nan)
    made = study(good(1, 1, 0.8), confirmation=Confirmation(5, "val_dice", True, (nothing,), ""))
    assert findings.confirmed(made) == "Not confirmed on fresh seeds."


def test_outcomes_are_counted_with_their_causes() -> None:
    made = study(
        good(0, 1, 0.5, epochs=10, seconds=20.0), good(1, 2, 0.4, forked_from="s 1", epochs=99),
        Trial(2, "failed", "a", epochs=1, seconds=2.0), Trial(3, "failed", "b"),
        Trial(4, "failed", "b", epochs=2), Trial(5, "running"),
    )  # fmt: skip
    rows = [(row.outcome, row.count, row.epochs, row.seconds, row.causes) for row in findings.outcomes(made)]
    assert rows == [
        ("completed", 1, 10, 20.0, ()),
        ("failed", 3, 3, 2.0, (("b", 2), ("a", 1))),
        ("running", 1, 0, 0.0, ()),
    ]


LR = Dimension("optimizer.lr", "float", 1e-5, 0.1, log=True)
LAYERS = Dimension("net.layers", "int", 2, 6, 1)
DROPOUT = Dimension("net.dropout", "float", 0.0, 0.5)
WIDTH = Dimension("net.width", "int", 16, 256, 16)


@pytest.mark.parametrize(
    ("dimension", "value", "side", "wider"),
    [
        (LR, 0.07, "high", 1.0),  # 0.96 of the way by factors, 0.70 of it by difference
        (LR, 1.5e-5, "low", 1e-6),
        (LR, 0.003, None, None),  # 0.03 of the way by difference
        (LAYERS, 6, "high", 8.0),
        (LAYERS, 5, None, None),  # one step of four away
        (LAYERS, 2, "low", 0.0),
        (DROPOUT, 0.02, "low", None),  # zero may be the end of it
        (DROPOUT, 0.476, "high", 0.75),
        (WIDTH, 256, "high", 384.0),
        (WIDTH, 240, None, None),
        (Dimension("a", "int", 1, 64, log=True), 1, "low", None),
        (Dimension("a", "int", 1, 64, log=True), 60, "high", 640.0),
        (Dimension("a", "int", 0, 1, 1), 1, None, None),  # of two values each is a bound
        (Dimension("a", "float", 0, 1, 1.0), 1, None, None),
        (Dimension("a", "float", 3, 3), 3, None, None),
        (Dimension("a", "float", -1, 0), 0, "high", None),
        (Dimension("a", "float", 0, 1, in_space=False), 1, None, None),
        (Dimension("a", "categorical", choices=("x", "y")), "x", None, None),
    ],
)
def test_the_winner_at_an_edge(
    dimension: Dimension, value: str | float, side: str | None, wider: float | None
) -> None:
    made = study(good(0, 1, 0.5, params={dimension.path: value}), dimensions=(dimension,))
    found = findings.edges(made)
    assert [each.side for each in found] == ([] if side is None else [side])
    for each in found:
        assert (each.wider, each.value, each.winner, each.near, each.of) == (wider, value, True, 1, 1)
        assert each.pressing
        assert each.bound == (dimension.low if side == "low" else dimension.high)


@pytest.mark.parametrize(
    ("layers", "near"), [((4, 6, 6, 6, 3), 3), ((4, 6, 6, 3, 3), 0), ((6, 3, 3, 3, 3), 1)]
)
def test_most_of_the_best_few_at_an_edge_count_too(layers: tuple[int, ...], near: int) -> None:
    trials = [good(n, n + 1, 1 - n / 10, params={"net.layers": value}) for n, value in enumerate(layers)]
    trials += [good(n, n + 1, 0.1, params={"net.layers": 6}) for n in range(5, 20)]  # the rest has no say
    found = findings.edges(study(*trials, dimensions=(LAYERS,)))
    assert [each.near for each in found] == ([near] if near else [])
    assert all(each.winner is (layers[0] == 6) and each.of == 5 for each in found)
    assert all(each.pressing is (near > 1) for each in found)


def test_a_parameter_that_the_best_dont_use_has_no_edge() -> None:
    assert findings.edges(study(good(0, 1, 0.5), dimensions=(LR,))) == []


def test_pruning_saves_what_was_planned_and_not_done() -> None:
    pruned = Trial(1, "pruned", epochs=4, epochs_planned=10, seconds=8.0)
    made = study(
        good(0, 1, 0.5, epochs=10, epochs_planned=10, seconds=20.0), pruned,
        Trial(2, "pruned", epochs=2, epochs_planned=10), Trial(3, "failed", epochs=1, epochs_planned=10),
        Trial(4, "pruned", epochs=3), Trial(5, "pruned", epochs=1, epochs_planned=10, forked_from="x 1"),
    )  # fmt: skip
    saved = findings.savings(made)
    assert saved == findings.Savings(2, 14, 20, 28.0)
    assert saved is not None
    assert saved.share == pytest.approx(14 / 34)
    assert findings.savings(study(good(0, 1, 0.5, epochs=10, epochs_planned=20))) is None


@pytest.mark.parametrize(
    ("values", "maximize", "ends"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 1e9], False, (0.1, 0.5)),
        ([0.9, 0.8, 0.7, 0.6, 0.5, -1e9], True, (0.5, 0.9)),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.9], False, (0.1, 0.9)),
        ([0.1, 1e9], False, (0.1, 1e9)),
        ([0.5, math.inf, math.nan, -math.inf], True, (0.5, 0.5)),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 7.0], False, (1.0, 7.0)),
        ([-1e9, 0.1, 0.2, 0.3, 0.4, 0.5], False, (-1e9, 0.5)),  # the best is never out of sight
    ],
)
def test_a_span_leaves_out_what_would_squeeze_the_rest(
    values: list[float], maximize: bool, ends: tuple[float, float]
) -> None:
    assert findings.span(values, maximize) == ends


def test_a_span_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no finite value"):
        findings.span([math.nan, math.inf], False)


def test_the_findings_of_a_real_study(tmp_path: Path) -> None:
    config = studies.config()
    made = studies.create(tmp_path, config)
    studies.fill(made, config, tmp_path)
    data = read(tmp_path, made, config)
    assert data.winner is not None
    assert data.winner.values[0] == made.best_value
    assert sum(row.count for row in findings.outcomes(data)) == 40
    saved = findings.savings(data)
    assert saved is not None
    assert saved.epochs_saved == sum(30 - 7 for trial in data.trials if trial.outcome == "pruned")
    assert saved.seconds_saved == pytest.approx(3.0 * saved.epochs_saved)
