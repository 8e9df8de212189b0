"""The curve that a pruner sees."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hpo.learning_curve import Curve, recorded


def test_one_seed_is_its_own_curve() -> None:
    curve = Curve(epochs=3)
    assert [curve.add(0, epoch, value) for epoch, value in ((1, 4.0), (2, 2.0), (3, 1.0))] == [
        (1, 4.0), (2, 2.0), (3, 1.0),
    ]  # fmt: skip
    assert curve.points == {1: 4.0, 2: 2.0, 3: 1.0}


def test_a_later_seed_is_averaged_with_the_same_epoch_of_the_earlier_ones() -> None:
    curve = Curve(epochs=10)
    for epoch, value in ((1, 4.0), (2, 2.0)):  # it stopped early
        curve.add(0, epoch, value)
    assert curve.add(1, 1, 6.0) == (11, 5.0)
    assert curve.add(1, 2, 4.0) == (12, 3.0)
    assert curve.add(1, 3, 3.0) == (13, 2.5), "a seed that had ended counts with its last value"
    assert curve.add(2, 2, 9.0) == (22, 5.0)


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=4))
def test_with_whole_seeds_it_is_the_mean(seeds: list[list[float]]) -> None:
    curve = Curve(epochs=3)
    for index, values in enumerate(seeds):
        for epoch, value in enumerate(values, 1):
            step, mean = curve.add(index, epoch, value)
            so_far = [other[epoch - 1] for other in seeds[: index + 1]]
            assert step == index * 3 + epoch
            assert mean == pytest.approx(sum(so_far) / len(so_far), rel=1e-9, abs=1e-6)


def test_the_last_epoch_of_the_last_seed_leaves_nothing_to_save() -> None:
    curve = Curve(epochs=3)
    assert curve.is_last(1, 3, seeds=2)
    assert not curve.is_last(0, 3, seeds=2) and not curve.is_last(1, 2, seeds=2)


def test_the_record_of_a_killed_trial_is_read_up_to_its_torn_line(tmp_path: Path) -> None:
    head = "epoch,train_loss,val_loss,seconds\n"
    (tmp_path / "metrics.csv").write_text(head + "1,1.0,0.5,0.25\n2,1.0,nan,0.5\n3,1.0,0.125,1.0\n4,0.")
    curve, seconds = recorded(tmp_path, ("seed_0",), "val_loss", epochs=5)
    assert curve.points == {1: 0.5, 3: 0.125} and seconds == 1.75
    for seed, value in ((7, "0.5"), (8, "0.25")):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / "metrics.csv").write_text(head + f"1,1.0,{value},0.25\n")
    assert recorded(tmp_path, ("seed_7", "seed_8", "seed_9"), "val_loss", epochs=5)[0].points == {
        1: 0.5,
        6: 0.375,
    }
    assert recorded(tmp_path, ("seed_0",), "val_dice", epochs=5)[0].points == {}
    assert recorded(tmp_path / "none", ("seed_0",), "val_loss", epochs=5)[0].points == {}
