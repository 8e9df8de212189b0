"""summary.json: of one run, and of several seeds."""

import json
import math
import statistics
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lab.config import ConfigError, RunConfig
from lab.events import RunResult, Stopped
from lab.store import run_folder
from lab.train.callbacks.run_summary import RepeatsSummary, Summary
from tests.run_events import run_end, run_start
from util import run


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / run_folder.SUMMARY).read_text())
    return found


def test_is_there_from_the_start(tmp_path: Path) -> None:
    Summary().on_run_start(run_start(tmp_path))
    summary = read(tmp_path)
    assert summary["outcome"] == "running"
    expected = {"run_id": tmp_path.name, "project": "spheroids", "name": "unet", "seed": 7, "parameters": 11}
    assert {key: summary[key] for key in expected} == expected
    assert summary["config"]["optimizer"]["lr"] == 0.1
    assert datetime.fromisoformat(summary["started"]).tzinfo is not None


def test_says_how_it_ended(tmp_path: Path) -> None:
    summary = Summary()
    summary.on_run_start(run_start(tmp_path))
    started = read(tmp_path)
    summary.on_run_end(
        run_end(outcome="diverged", reason="nan", value=math.inf, best_epoch=3, last={"val_loss": math.nan})
    )
    found = read(tmp_path)
    expected = {
        "outcome": "diverged", "reason": "nan", "value": None, "best_epoch": 3, "best": {"val_loss": 0.5},
        "last": {"val_loss": None}, "epochs": 4, "seconds": 2.0, "samples_per_second": 50.0,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert {key: found[key] for key in started if key != "outcome"} == {
        key: value for key, value in started.items() if key != "outcome"
    }
    assert found["ended"] >= found["started"]


def test_an_end_without_a_start_writes_nothing(tmp_path: Path) -> None:
    Summary().on_run_end(run_end())
    assert list(tmp_path.iterdir()) == []


def result(value: float, folder: Path, outcome: Any = "completed", **best: float) -> RunResult:
    row = {"val_loss": value, "lr": 0.1, **best}
    return RunResult(run_end(outcome=outcome, value=value, best=row, last=row, epochs=3), folder)


def test_mean_spread_and_table(
    tmp_path: Path, config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    values = [0.25, 0.5, 1.5]
    with RepeatsSummary(tmp_path, config(seeds=[1, 2, 3]), "plain") as seeds:
        assert read(tmp_path)["outcome"] == "running"
        for seed, value in enumerate(values, 1):
            seeds.add(result(value, tmp_path / f"seed_{seed}", val_dice=value / 2))
    found, mean, spread = read(tmp_path), statistics.fmean(values), statistics.stdev(values)
    assert (found["outcome"], found["reason"], found["epochs"]) == ("completed", "", 3)
    assert found["value"] == float(seeds.result) == pytest.approx(mean)
    assert found["best"] == pytest.approx({"val_loss": mean, "lr": 0.1, "val_dice": mean / 2})
    assert found["spread"] == pytest.approx({"val_loss": spread, "lr": 0, "val_dice": spread / 2}, abs=1e-12)
    table = [(row["seed"], row["value"], row["folder"], row["best"]["val_dice"]) for row in found["seeds"]]
    assert table == [(seed, v, f"seed_{seed}", v / 2) for seed, v in enumerate(values, 1)]
    assert capsys.readouterr().out.splitlines() == [
        "",
        "3 seeds: mean ± standard deviation of the best epochs",
        "  val_loss             0.7500 ± 0.6614   (0.2500  0.5000  1.5000)",
        "  val_dice             0.3750 ± 0.3307   (0.1250  0.2500  0.7500)",
        f"  in {tmp_path}",
    ]
    assert RunConfig.from_yaml(tmp_path / run_folder.CONFIG) == config(seeds=[1, 2, 3])


def test_definitions_are_the_newest_of_the_seeds(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    with RepeatsSummary(tmp_path, config(seeds=[1, 2, 3]), "quiet") as seeds:
        for seed, known in enumerate(({"loss": 1, "dice": 2}, {"loss": 2}, None), 1):
            below = tmp_path / f"seed_{seed}"
            below.mkdir(exist_ok=True)
            run_folder.write_summary(below, {} if known is None else {"definitions": known})
            seeds.add(result(0.5, below))
    assert read(tmp_path)["definitions"] == {"loss": 2, "dice": 2}


def test_one_diverged_seed_makes_it_all_diverged(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    with RepeatsSummary(tmp_path, config(seeds=[1, 2, 3]), "quiet") as seeds:
        seeds.add(result(0.5, tmp_path))
        seeds.add(result(math.inf, tmp_path, "diverged"))
        seeds.add(
            RunResult(run_end(outcome="diverged", value=math.inf, best={"val_loss": math.nan}), tmp_path)
        )
    found = read(tmp_path)
    assert (found["outcome"], found["reason"], found["value"]) == ("diverged", "seed 2, 3 diverged", None)
    assert (seeds.result.outcome, float(seeds.result)) == ("diverged", math.inf)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (Stopped("SIGTERM"), "interrupted"),
        (SystemExit(3), "failed"),
        (OSError("full"), "failed"),
    ],
)
def test_an_error_is_filed_with_what_was_done(
    tmp_path: Path, config: Callable[..., RunConfig], error: BaseException, outcome: str
) -> None:
    with pytest.raises(type(error)), RepeatsSummary(tmp_path, config(seeds=[1, 2]), "json") as seeds:
        seeds.add(result(0.5, tmp_path))
        raise error
    found = read(tmp_path)
    assert (found["outcome"], found["value"], len(found["seeds"])) == (outcome, 0.5, 1)
    assert found["reason"] == f"{type(error).__name__}: {error}"
    assert found["spread"]["val_loss"] is None


def test_before_the_first_seed_ended(tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    with pytest.raises(RuntimeError), RepeatsSummary(tmp_path, config(seeds=[1, 2]), "json"):
        raise RuntimeError("no answer from https://me:hunter2@example.org/data")
    found = read(tmp_path)
    assert (found["outcome"], found["seeds"], found["value"]) == ("failed", [], None)
    assert found["best"] == {"val_loss": None}
    assert found["reason"] == "RuntimeError: no answer from https://me:***@example.org/data"


def test_no_table_without_a_result(
    tmp_path: Path, config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), RepeatsSummary(tmp_path, config(seeds=[1, 2]), "plain"):
        raise KeyboardInterrupt
    assert capsys.readouterr().out == ""
    assert read(tmp_path)["outcome"] == "interrupted"


def test_json_on_the_console(
    tmp_path: Path, config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    with RepeatsSummary(tmp_path, config(seeds=[1, 2]), "json") as seeds:
        seeds.add(result(0.5, tmp_path))
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"event": "seeds_end", "value": 0.5, "best": {"val_loss": 0.5, "lr": 0.1}}


def test_a_refused_config_changes_nothing(config: Callable[..., RunConfig], workplace: Path) -> None:
    """Neither of a run of several seeds that was there, nor by leaving an empty new one."""
    folder = run(config(seeds=[1, 2]), console="quiet").run_dir
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="has 8, the config has 9"):
        run(config(seeds=[1, 2], **{"net.width": 9}), run_dir=folder, resume=True, console="quiet")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises(ConfigError, match="net"):
        run(config(seeds=[1, 2], **{"net.width": 0}), console="quiet")
    assert [path.name for path in (workplace / "runs").iterdir()] == [folder.name]
