from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.config.config_diff import MISSING
from lab.report.compare import compare, config_of, curve, differences, results
from lab.report.run_list import read_run

Make = Callable[..., Path]
A, B = "20260101-000000_unet", "20260101-000001_unet"


@pytest.fixture
def two(make: Make, tmp_path: Path) -> Path:
    curves = {"val_loss": [0.9, 0.5], "train_loss": [0.8, 0.3]}
    make(
        A,
        {"val_loss": 0.5, "val_dice": 0.8},
        curves,
        config={"optimizer": {"lr": 1e-3}, "epochs": 5, "tags": ["x"]},
    )
    make(B, {"val_loss": 0.25}, curves, config={"optimizer": {"lr": 0.01}, "epochs": 5.0, "ema": None})
    return tmp_path / "runs"


def test_differences_have_one_value_a_config() -> None:
    configs = {
        "A": {"lr": 0.1, "same": 1},
        "B": {"lr": 0.1, "same": 1.0, "ema": None},
        "C": {"lr": 0.2, "same": 1},
    }
    assert differences(configs) == [("lr", [0.1, 0.1, 0.2]), ("ema", [MISSING, None, MISSING])]
    assert differences({}) == []


def test_the_text_holds_results_and_differences_only(two: Path) -> None:
    text = compare([A, B], two)
    assert text.splitlines() == [
        "   run                   outcome    val_loss  val_dice  best epoch  epochs        time",
        "─  ────────────────────  ─────────  ────────  ────────  ──────────  ──────  ──────────",
        f"A  {A}  completed    0.5000    0.8000           3       5  2 min 41 s",
        f"B  {B}  completed    0.2500         –           3       5  2 min 41 s",
        "",
        "config        A      B",
        "────────────  ─────  ────",
        "optimizer.lr  0.001  0.01",
        "tags.0        x      –",
        "ema           –      null",
        "",
        f"curves: {two / f'compare_{A}_{B}.png'}",
    ]


def test_the_picture_is_drawn_where_it_is_wanted(two: Path, tmp_path: Path) -> None:
    compare([A, str(two / B)], two, tmp_path / "out" / "c.png")
    picture = np.asarray(Image.open(tmp_path / "out" / "c.png").convert("RGB"))
    assert picture.shape[1] == 2 * 4 * 130  # a panel for each loss
    assert (picture == (0, 114, 178)).all(axis=2).any() and (picture == (213, 94, 0)).all(axis=2).any()
    assert not list(two.glob("*.png"))


def test_equal_configs_and_no_curves_are_said(make: Make, tmp_path: Path) -> None:
    make("a")
    make("b")
    text = compare(["a", "b"], tmp_path / "runs")
    assert "The configs are the same." in text and "No curves" in text
    assert not list((tmp_path / "runs").glob("*.png"))


def test_runs_with_long_names_get_a_short_picture_name(make: Make, tmp_path: Path) -> None:
    names = [f"{number}_{'x' * 75}" for number in range(3)]
    for name in names:
        make(name, curve={"val_loss": [1.0]})
    compare(names, [tmp_path / "runs"])
    (path,) = (tmp_path / "runs").glob("*.png")
    assert path.name.startswith(f"compare_{names[0]}_and_2_more_")


def test_one_run_given_twice_is_one(two: Path) -> None:
    with pytest.raises(ValueError, match="two runs or more, found 1"):
        compare([A, str(two / A)], two)


def test_several_seeds_are_drawn_as_their_mean(make: Make) -> None:
    parent = make("many")
    make("many/seed_0", curve={"val_loss": [1.0, 0.5, 0.25]})
    make("many/seed_1", curve={"val_loss": [3.0, 1.5]})
    assert [(row["epoch"], row["val_loss"]) for row in curve(parent)] == [(1, 2.0), (2, 1.0), (3, 0.25)]


def test_the_spread_of_seeds_stands_beside_their_mean(make: Make) -> None:
    run = read_run(make("many", {"val_loss": 0.25}, seeds=[{}, {}, {}], spread={"val_loss": 0.03}))
    assert "0.2500 ± 0.03 (n=3)" in results({"A": run})


def test_the_snapshot_stands_in_for_a_summary(make: Make) -> None:
    folder = make("r")
    (folder / "summary.json").unlink()
    with pytest.raises(ValueError, match="neither its summary nor its config"):
        config_of(read_run(folder))
    (folder / "config.yaml").write_text("optimizer: {lr: 1e-3}\n")
    assert config_of(read_run(folder)) == {"optimizer": {"lr": 0.001}}
