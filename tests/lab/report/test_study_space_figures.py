import math
from itertools import pairwise
from pathlib import Path

import pytest

from lab.report import study_space_figures as figures
from lab.report.study_data import Dimension, Objective, Study, Trial
from tests.lab.report.test_study_figures import good, lines, marks, parsed, texts

DICE, LOSS = Objective("val_dice", True), Objective("val_loss", False)
LR = Dimension("optimizer.lr", "float", 1e-4, 1.0, log=True)
LAYERS = Dimension("net.layers", "int", 2, 6, 1)
OPTIMIZER = Dimension("optimizer", "categorical", choices=("SGD", "Adam"))


def study(*trials: Trial, dimensions: tuple[Dimension, ...], objective: Objective = DICE) -> Study:
    return Study("s", Path("s"), (objective,), objective, dimensions, trials, 20, 10)


def points(drawn: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (each.split() for each in drawn[1:].split("L"))]


def test_a_line_goes_through_every_parameter_to_the_value() -> None:
    made = study(
        good(0, 1, 0.75, params={"optimizer.lr": 0.01, "optimizer": "Adam", "net.layers": 6}),
        good(1, 2, 0.5, params={"optimizer.lr": 1e-4, "optimizer": "SGD"}),
        Trial(2, "pruned", params={"optimizer.lr": 1.0}),
        dimensions=(LR, OPTIMIZER, LAYERS),
    )
    picture = figures.parallel(made)
    worse, best = (points(drawn) for drawn in lines(picture, "strand"))
    assert len(lines(picture, "r0")) == 1
    bottom, top = 300, 58
    assert [y for _, y in best[:3]] == pytest.approx([(bottom + top) / 2, top + 60.5, top])
    assert [y for _, y in worse[:3]] == pytest.approx([bottom, bottom - 60.5, bottom + 30])
    assert best[3][1] < worse[3][1]
    assert {"1e-4", "1", "SGD", "Adam", "2", "6", "not in use", "layers", "val_dice"} <= set(texts(picture))


def test_the_better_end_is_on_top_of_a_loss_too() -> None:
    trials = [good(n, n + 1, 0.1 + n, params={"net.layers": 3}) for n in range(2)]
    worse, best = (
        points(drawn)
        for drawn in lines(figures.parallel(study(*trials, dimensions=(LAYERS,), objective=LOSS)), "strand")
    )
    assert best[-1][1] < worse[-1][1]


def test_there_are_no_parallel_coordinates_without_a_result() -> None:
    failed = Trial(0, "failed", params={"net.layers": 3})
    assert figures.parallel(study(failed, dimensions=(LAYERS,))) is None
    assert figures.parallel(study(good(0, 1, 0.5), dimensions=(LAYERS,))) is None


def test_colours_go_by_rank() -> None:
    trials = [good(n, n + 1, 1 - n / 100, params={"net.layers": 3}) for n in range(101)]
    picture = figures.parallel(study(*trials, dimensions=(LAYERS,)))
    assert [len(lines(picture, f"r{colour}")) for colour in range(5)] == [1, 10, 15, 25, 50]


def test_a_slice_is_on_the_parameters_scale() -> None:
    trials = [good(n, 4 - n, n / 4, params={"optimizer.lr": 10.0 ** (n - 4)}) for n in range(4)]
    pruned = Trial(4, "pruned", params={"optimizer.lr": 1.0}, curve=((1, 0.1),))
    ((dimension, picture),) = figures.slices(study(*trials, pruned, dimensions=(LR,)))
    assert dimension is LR
    places = [*marks(picture, "completed"), *marks(picture, "winner"), *marks(picture, "pruned")]
    gaps = [second[0] - first[0] for first, second in pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 4, abs=0.2)
    bounds = [float(e.attrib["x1"]) for e in parsed(picture).iter("line") if e.attrib["class"] == "bound"]
    assert bounds == [places[0][0], places[4][0]]
    bands = [float(each.attrib["width"]) for each in parsed(picture).iter("rect")]
    assert bands == pytest.approx([0.05 * (bounds[1] - bounds[0])] * 2, abs=0.1)


def test_a_choice_has_its_place_and_its_median() -> None:
    values = {"SGD": (0.2, 0.4, 0.6), "Adam": (0.8, 1.0, 0.9)}
    trials = [
        good(n, 6 - n, value, params={"optimizer": choice})
        for n, (choice, value) in enumerate((c, v) for c, vs in values.items() for v in vs)
    ]
    ((_, picture),) = figures.slices(study(*trials, dimensions=(OPTIMIZER,)))
    medians = [each.attrib for each in parsed(picture).iter("line") if each.attrib["class"] == "median"]
    centres = [(float(each["x1"]) + float(each["x2"])) / 2 for each in medians]
    places = sorted([*marks(picture, "completed"), *marks(picture, "winner")])
    assert all(abs(x - centres[0]) < abs(x - centres[1]) for x, _ in places[:3])
    assert all(abs(x - centres[1]) < abs(x - centres[0]) for x, _ in places[3:])
    heights = sorted(y for _, y in places[:3])
    assert float(medians[0]["y1"]) == heights[1]
    assert {"SGD", "Adam"} <= set(texts(picture))


def test_a_conditional_parameter_says_how_often_it_was_in_use() -> None:
    made = study(good(0, 1, 0.5, params={"net.layers": 3}), good(1, 2, 0.4), dimensions=(LAYERS, LR))
    ((dimension, picture),) = figures.slices(made)
    assert (dimension, picture.note) == (LAYERS, "in 1 of 2 trials")


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (LR, (0.01, 5.0)),  # beyond a bound that was narrowed since
        (LR, (0.01, -1.0)),  # it was not logarithmic once
        (LAYERS, (3, "many")),  # it was a choice once
        (Dimension("net.layers", "int", 3, 3), (3, 3)),
        (Dimension("net.layers", "float", 0, 1e308), (0.0, 1e308)),
        (OPTIMIZER, ("SGD", "SGD")),
        (Dimension("optimizer", "categorical", choices=tuple(map(str, range(60)))), ("3", "59")),
    ],
)
def test_odd_values_break_nothing(dimension: Dimension, values: tuple[str | float, ...]) -> None:
    trials = [good(n, n + 1, 0.5 - n / 10, params={dimension.path: value}) for n, value in enumerate(values)]
    made = study(*trials, dimensions=(dimension,))
    pictures = [figures.parallel(made), *(picture for _, picture in figures.slices(made))]
    for picture in pictures:
        assert picture is not None
        assert not {"nan", "inf"} & set(str(picture.svg).replace('"', " ").split())
        parsed(picture)
    assert math.isfinite(figures.bounds(dimension, trials)[0])
