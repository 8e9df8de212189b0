"""What a whole study takes: against sums that one can do by hand."""

from pathlib import Path
from typing import Any

import pytest

from lab.config import OptimizeConfig
from lab.hpo.cost_estimate import Room, estimate, size, time_left, trials_left, warnings
from lab.train.preflight_report import Costs
from tests import study_tools as tools

MB, GB = 10**6, 10**9
# Two corners: 100 s and 300 s, 1 and 3 GB of memory, 3 files of 10 and 40 MB.
COSTS = {
    "all numbers low": Costs(1 * GB, 25.0, 100.0, 10 * MB, 3),
    "all numbers high": Costs(3 * GB, 75.0, 300.0, 40 * MB, 3),
}
SEEDED = {label: Costs(c.peak_bytes, 12.5, c.seconds, c.checkpoint_bytes, 6) for label, c in COSTS.items()}


def config(folder: Path, **values: Any) -> OptimizeConfig:
    """Ten trials of four epochs, the best two kept."""
    given = {"n_trials": 10, "retention": {"keep_best": 2}, **values}
    return OptimizeConfig.from_yaml(tools.study_file(folder, **given))


def makespan(trials: int, workers: int, seconds: float) -> float:
    """By simulation: a free worker takes the next trial."""
    free = [0.0] * workers
    for _ in range(trials):
        free[free.index(min(free))] += seconds
    return max(free)


@pytest.mark.parametrize(("trials", "workers"), [(9, 8), (10, 4), (16, 8), (3, 8), (7, 3), (1, 1), (100, 7)])
def test_time_counts_rounds_of_workers(tmp_path: Path, trials: int, workers: int) -> None:
    found = estimate(config(tmp_path, n_trials=trials, workers=workers), COSTS)
    expected = [makespan(trials, workers, seconds) for seconds in (200.0, 100.0, 300.0)]
    assert [found.seconds, found.least, found.most] == expected
    confirm = {"top": 1, "seeds": max(2, trials)}
    again = estimate(config(tmp_path, n_trials=trials, workers=workers, confirm=confirm), COSTS)
    assert again.confirming == makespan(max(2, trials), workers, 200.0)


@pytest.mark.parametrize(
    ("elapsed", "waiting", "workers", "left"),
    [
        ([], 9, 8, 20.0),
        ([4.0], 0, 8, 6.0),  # the last one
        ([4.0, 9.0], 1, 2, 11.0),  # the next begins when the second is over, in a second
        ([30.0], 0, 1, 0.0),  # longer than the mean
        ([], 0, 4, 0.0),
        ([1.0, 1.0, 1.0], 4, 3, 29.0),
    ],
)
def test_the_time_left_counts_rounds_too(
    elapsed: list[float], waiting: int, workers: int, left: float
) -> None:
    assert time_left(10.0, elapsed, waiting, workers) == left


SMALL: dict[str, Any] = {"net.width": {"choices": [4, 6]}, "net.layers": {"choices": [1, 2, 3]}}
DIVIDES = ["net.width % net.layers == 0"]  # all but (4, 3)
WIDE: dict[str, Any] = {"optimizer.lr": {"type": "float", "low": 0.1, "high": 0.2}}


@pytest.mark.parametrize(
    ("space", "constraints", "begun", "tried", "left"),
    [
        (SMALL, [], 0, 0, 6),
        (SMALL, [], 2, 2, 4),
        (SMALL, [], 2, 5, 1),  # three came with a fork
        (SMALL, [], 6, 7, 0),  # another program tried one of them twice
        (SMALL, DIVIDES, 0, 0, 5),
        (WIDE, [], 0, 0, 10),
        (WIDE, [], 4, 9, 6),
        (WIDE, [], 11, 11, 0),
    ],
)
def test_no_more_trials_are_left_than_points(
    tmp_path: Path, space: Any, constraints: list[str], begun: int, tried: int, left: int
) -> None:
    own = config(tmp_path, search_space=space, constraints=constraints)
    assert trials_left(own, begun, tried) == left
    if begun == 0:
        found = estimate(own, COSTS)
        assert (found.trials, found.seconds) == (left, 200.0 * left)


def test_time_is_trials_times_the_mean_over_workers(tmp_path: Path) -> None:
    found = estimate(config(tmp_path), COSTS)
    assert (found.trials, found.workers) == (10, 1)
    assert (found.seconds, found.least, found.most) == (2000.0, 1000.0, 3000.0)
    assert estimate(config(tmp_path, workers=4), COSTS).seconds == 600.0, "the third round has two"
    assert estimate(config(tmp_path, workers=16), COSTS).seconds == 200.0, "no more at a time than there are"
    assert found.confirming == 0.0


def test_confirming_is_reruns_of_one_seed(tmp_path: Path) -> None:
    confirm = {"top": 3, "seeds": 4}
    assert estimate(config(tmp_path, confirm=confirm, workers=2), COSTS).confirming == 12 * 200 / 2
    several = config(tmp_path, confirm=confirm, **{"run.seeds": [0, 1]})
    assert estimate(several, SEEDED).confirming == 12 * 200 / 2


def test_memory_is_that_of_the_largest_times_those_that_share_a_device(tmp_path: Path) -> None:
    assert estimate(config(tmp_path), COSTS).memory == 3 * GB
    found = estimate(config(tmp_path, workers=3), COSTS)
    assert (found.sharing, found.memory) == (3, 9 * GB)
    spread = estimate(config(tmp_path, workers=3, devices=["cuda:0", "cuda:1"]), COSTS)
    assert (spread.sharing, spread.memory) == (2, 6 * GB)


@pytest.mark.parametrize(
    ("values", "costs", "trials"),
    [
        ({}, COSTS, 2 + 1),
        ({"workers": 4}, COSTS, 2 + 4),
        ({"n_trials": 1}, COSTS, 1 + 1),
        ({"retention": {"keep_best": 5}}, COSTS, 5 + 1),
        ({"retention": {"pruned": True}}, COSTS, 3 + 1),  # nothing prunes
        ({"retention": {"pruned": True}, "pruner": "optuna.pruners.MedianPruner"}, COSTS, 10 + 1),
        ({"confirm": {"top": 2, "seeds": 3}}, COSTS, 2 + 6),
        ({"run.seeds": [0, 1]}, SEEDED, 2 * (2 + 1)),
        ({"run.seeds": [0, 1], "confirm": {"top": 2, "seeds": 3}}, SEEDED, 2 * 2 + 6),
    ],
)
def test_weights_of_the_kept_and_of_those_at_work(
    tmp_path: Path, values: dict[str, Any], costs: dict[str, Costs], trials: int
) -> None:
    """`trials` are runs of one seed, of 3 files of 40 MB each."""
    found = estimate(config(tmp_path, **values), costs)
    assert found.weights == trials * 120 * MB
    assert found.disk == found.weights + found.records
    assert found.needed <= found.disk


def test_records_stay_of_all_trials(tmp_path: Path) -> None:
    plain = estimate(config(tmp_path), COSTS).records
    assert plain == 10 * (150_000 + 4 * 500)
    assert estimate(config(tmp_path, n_trials=20), COSTS).records == 2 * plain
    assert estimate(config(tmp_path, **{"run.seeds": [0, 1]}), SEEDED).records == 2 * plain
    drawn = estimate(config(tmp_path, **{"run.pictures": {"enabled": True}}), COSTS).records
    assert drawn == plain + 10 * 300_000


@pytest.mark.parametrize(
    ("values", "room", "warning"),
    [
        ({"time_budget": 2000}, Room(), None),
        ({"time_budget": 1000}, Room(), "the time_budget of 16 min 40 s is enough for about 5 of 10 trials, "
         "without pruning"),
        ({"time_budget": 10}, Room(), "the time_budget of 10.0 s is enough for about 1 of 10 trials, "
         "without pruning"),
        ({"trial_timeout": 300}, Room(), None),
        ({"trial_timeout": 200}, Room(), "the trial_timeout of 3 min 20 s ends trials such as 'all numbers "
         "high', which takes 5 min 00 s"),
        ({}, Room(memory=4 * GB), None),
        ({}, Room(memory=3 * GB, device="cuda:0"), "it wants 3.00 GB of memory, and cuda:0 has 3.00 GB; "
         "take a smaller batch or network"),
        ({"workers": 2}, Room(memory=6 * GB), "2 of the largest trials at a time want 6.00 GB of memory, and "
         "this machine has 6.00 GB; take fewer workers"),
        ({"retention": {"keep_best": 2, "max_disk_gb": 0.4}}, Room(), None),
        ({"retention": {"keep_best": 2, "max_disk_gb": 0.3}}, Room(), "retention.max_disk_gb is 0.3, and the "
         "study takes up to 362 MB: fewer weights than those of the best 2 stay"),
        ({"retention": {"keep_best": 2, "max_disk_gb": 0.1}}, Room(), "retention.max_disk_gb is 0.1, and the "
         "winner, the trials at work and the records take 162 MB: the study would stop"),
        ({}, Room(disk=400 * MB), None),
        ({}, Room(disk=300 * MB), "the study takes up to 362 MB of disk, and 300 MB are free; "
         "retention.max_disk_gb sets a limit"),
        ({"retention": {"keep_best": 2, "max_disk_gb": 0.2}}, Room(disk=300 * MB), "retention.max_disk_gb is "
         "0.2, and the study takes up to 362 MB: fewer weights than those of the best 2 stay"),
    ],
)  # fmt: skip
def test_what_will_not_fit_is_said(
    tmp_path: Path, values: dict[str, Any], room: Room, warning: str | None
) -> None:
    study = config(tmp_path, **values)
    assert warnings(study, COSTS, estimate(study, COSTS), room) == ([] if warning is None else [warning])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 kB"), (812_400, "812 kB"), (999_499, "999 kB"), (999_500, "1.0 MB"), (45_230_000, "45.2 MB"),
     (612_000_000, "612 MB"), (999_499_999, "999 MB"), (1_240_000_000, "1.24 GB"), (1.5e12, "1,500 GB")],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
