import csv
import math
from pathlib import Path

import optuna
import pytest

from lab.config.optimize_config import OptimizeConfig
from lab.report import study as study_report
from lab.report import study_data
from tests.lab.report import studies

PARAMS = {"optimizer.lr": 0.01, "optimizer": "AdamW", "net.layers": 3, "batch_size": 8}


def rows(folder: Path, config: OptimizeConfig, study: optuna.Study) -> list[list[str]]:
    study_report.write_leaderboard(folder / "leaderboard.csv", study_data.read(folder, study, config))
    with (folder / "leaderboard.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_the_best_come_first_then_pruned_then_failed(tmp_path: Path) -> None:
    config = studies.config()
    study = studies.create(tmp_path, config)
    studies.add(study, config, PARAMS, "failed", epochs=0, seconds=1.5)
    studies.add(study, config, PARAMS, "pruned", curve={1: 0.25, 2: 0.5}, epochs=2, seconds=2.0)
    studies.add(study, config, PARAMS, "completed", (0.75,), epochs=30, seconds=60.0)
    studies.add(study, config, PARAMS, "diverged", epochs=2, seconds=3.0)
    sgd = {**PARAMS, "optimizer": "SGD", "optimizer.momentum": 0.1 + 0.2}
    studies.add(study, config, sgd, "early_stopped", (0.8125,), {1: 0.8}, epochs=12, seconds=24.0)
    studies.add(study, config, PARAMS, "running")
    studies.trial_folder(tmp_path, 4)
    lr = "optimizer.lr"
    assert rows(tmp_path, config, study) == [
        ["rank", "trial", "outcome", "val_dice", "last", lr, "optimizer", "optimizer.momentum", "net.layers",
         "batch_size", "epochs", "seconds", "forked from", "folder"],
        ["1", "4", "early_stopped", "0.8125", "0.8", "0.01", "SGD", "0.30000000000000004", "3", "8", "12",
         "24.0", "", "trial_00004"],
        ["2", "2", "completed", "0.75", "", "0.01", "AdamW", "", "3", "8", "30", "60.0", "", ""],
        ["", "1", "pruned", "", "0.5", "0.01", "AdamW", "", "3", "8", "2", "2.0", "", ""],
        ["", "3", "diverged", "-inf", "", "0.01", "AdamW", "", "3", "8", "2", "3.0", "", ""],
        ["", "0", "failed", "", "", "0.01", "AdamW", "", "3", "8", "0", "1.5", "", ""],
        ["", "5", "running", "", "", "0.01", "AdamW", "", "3", "8", "0", "", "", ""],
    ]  # fmt: skip


@pytest.mark.parametrize("risky", ["=HYPERLINK(1)", "+1", "-1+2", "@SUM(A1)", "\tx"])
def test_no_cell_is_a_formula(risky: str, tmp_path: Path) -> None:
    space = {"net.name": {"choices": [risky, "plain"]}}
    config = studies.config(search_space=space)
    study = studies.create(tmp_path, config)
    studies.add(study, config, {"net.name": risky}, "completed", (-0.5,), forked_from=f"{risky} 3")
    header, row = rows(tmp_path, config, study)
    assert row[header.index("net.name")] == f"'{risky}"
    assert row[header.index("forked from")] == f"'{risky} 3"
    assert row[header.index("val_dice")] == "-0.5"  # a number stays one


def test_seeds_and_objectives_have_columns_of_their_own(tmp_path: Path) -> None:
    both = [{"metric": "val_dice", "mode": "max"}, {"metric": "seconds", "mode": "min"}]
    config = studies.config(monitor=both)
    study = studies.create(tmp_path, config)
    studies.add(
        study,
        config,
        PARAMS,
        "completed",
        (0.5, 9.0),
        repeats={"seed_0": 0.25, "seed_7": math.nan},
        seconds=9.5,
    )
    header, row = rows(tmp_path, config, study)
    named = dict(zip(header, row, strict=True))
    assert (named["val_dice"], named["seconds"], named["trial's seconds"]) == ("0.5", "9.0", "9.5")
    assert (named["seed 0"], named["seed 7"]) == ("0.25", "")


def test_other_than_ascii_is_announced_to_spreadsheets(tmp_path: Path) -> None:
    config = studies.config(search_space={"net.name": {"choices": ["größe", "x"]}})
    study = studies.create(tmp_path, config)
    studies.add(study, config, {"net.name": "x"}, "completed", (0.5,))
    rows(tmp_path, config, study)
    assert (tmp_path / "leaderboard.csv").read_bytes()[:4] == b"rank"
    studies.add(study, config, {"net.name": "größe"}, "completed", (0.6,))
    assert rows(tmp_path, config, study)[1][5] == "größe"
    assert (tmp_path / "leaderboard.csv").read_bytes()[:3] == b"\xef\xbb\xbf"
