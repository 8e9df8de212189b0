"""Intervals and verdicts, by numbers from a table of Student's t; and what reruns leave behind."""

import errno
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

import main
import util
from lab.config import OptimizeConfig
from lab.events import RunResult
from lab.hpo import study, trial_errors
from lab.hpo.reevaluate import _verdict, interval
from tests import study_tools as tools


def test_the_interval_is_students() -> None:
    mean, low, high = interval([1.0, 2.0, 3.0, 4.0, 5.0])  # t(0.975, 4) = 2.776, s = 1.5811
    assert mean == 3.0
    assert high - mean == pytest.approx(2.7764 * 1.58114 / math.sqrt(5), abs=1e-3)
    assert low == pytest.approx(2 * mean - high)


def test_too_few_values_have_no_interval() -> None:
    assert interval([2.0])[0] == 2.0 and math.isnan(interval([2.0])[1])
    assert all(map(math.isnan, interval([])))


@pytest.mark.parametrize(
    ("first", "second", "mode", "verdict"),
    [
        ([0.10, 0.11, 0.12], [0.20, 0.22, 0.21], "min", "trial 1 beats trial 2"),
        ([0.10, 0.11, 0.12], [0.20, 0.22, 0.21], "max", "trial 2 beats trial 1"),
        ([0.10, 0.30, 0.12], [0.20, 0.12, 0.21], "min", "can't be distinguished"),
        ([0.10, None, None], [0.20, 0.22, 0.21], "min", "can't be compared"),
        ([0.10, math.nan, math.nan], [0.20, 0.22, 0.21], "min", "can't be compared"),
    ],
)
def test_the_first_beats_the_second_where_their_differences_leave_out_zero(
    first: list[float | None], second: list[float | None], mode: str, verdict: str
) -> None:
    assert verdict in _verdict({1: first, 2: second}, mode)


INF = math.inf


@pytest.mark.parametrize(
    ("first", "second", "mode", "verdict"),
    [
        ([0.1, INF, INF, INF, 0.101], [0.2, 0.2, 0.21, 0.2, 0.2], "min", "can't be distinguished"),
        ([0.9, -INF, -INF, -INF, 0.9], [0.8, 0.8, 0.8, 0.8, 0.8], "max", "can't be distinguished"),
        ([INF] * 7, [0.2, 0.2, 0.21, 0.2, 0.2, 0.3, 0.1], "min", "trial 2 beats trial 1, which won"),
        ([0.2, 0.2, 0.21, 0.2, 0.2, 0.3, 0.1], [INF] * 7, "min", "trial 1 beats trial 2"),
        ([0.9] * 7, [-INF] * 7, "max", "trial 1 beats trial 2"),
        ([INF] * 5, [INF] * 5, "min", "can't be distinguished"),
        ([0.1] * 6 + [INF], [0.2] * 7, "min", "can't be distinguished"),
    ],
)
def test_a_rerun_that_diverged_is_worse_than_any_other(
    first: list[float | None], second: list[float | None], mode: str, verdict: str
) -> None:
    found = _verdict({1: first, 2: second}, mode)
    assert verdict in found
    counts = [sum(map(math.isinf, column)) for column in (first, second)]  # type: ignore[arg-type]
    assert f"trial 1 diverged on {counts[0]} of {len(first)} seeds and trial 2 on {counts[1]}" in found
    sign = 1 if mode == "min" else -1
    gains = [sign * (b - a) if a != b else 0.0 for a, b in zip(first, second, strict=True)]  # type: ignore[operator]
    if any(gains):
        p = stats.wilcoxon([max(-1e9, min(1e9, gain)) for gain in gains]).pvalue
        assert f"p = {p:.2g}" in found and ("beats" in found) == (p < 0.05)


def test_a_diverged_rerun_makes_the_mean_infinite_without_an_interval() -> None:
    mean, low, high = interval([0.1, INF, 0.2])
    assert mean == INF and math.isnan(low) and math.isnan(high)
    assert interval([0.9, -INF])[0] == -INF


def test_seeds_are_paired() -> None:
    """The seeds differ far more than the trials do, and the same way for both."""
    first = [1.0, 2.0, 3.0, 4.0]
    assert "trial 1 beats" in _verdict({1: list(first), 2: [v + 0.01 for v in first]}, "min")


def test_one_candidate_has_nothing_to_beat() -> None:
    assert "no second trial" in _verdict({1: [1.0, 2.0]}, "min")


def test_what_is_worse_is_not_said_to_be_better() -> None:
    first, second = [0.20, 0.22, 0.21], [0.10, 0.11, 0.12]  # by 0.10, 0.11, 0.09: t(0.975, 2) = 4.303
    end = "0.1000 worse on average, 95 % interval 0.0752 to 0.1248, 3 seeds"
    assert _verdict({1: first, 2: second}, "min") == (
        f"trial 2 beats trial 1, which won the search: trial 1 is {end}"
    )
    assert _verdict({1: second, 2: first}, "max").endswith(f"trial 1 is {end}")
    assert _verdict({1: second, 2: first}, "min") == (
        f"trial 1 beats trial 2: {end.replace('worse', 'better')}"
    )


def test_an_interval_across_zero_is_turned_with_its_word() -> None:
    worse = _verdict({1: [0.2, 0.1, 0.3], 2: [0.1, 0.1, 0.1]}, "min")  # by 0.1, 0, 0.2: 0.1 +- 0.2484
    assert "trial 1 is 0.1000 worse on average, 95 % interval -0.1484 to 0.3484" in worse
    better = _verdict({1: [0.1, 0.1, 0.1], 2: [0.2, 0.1, 0.3]}, "min")
    assert "trial 1 is 0.1000 better on average, 95 % interval -0.1484 to 0.3484" in better


@pytest.mark.parametrize("isolation", [pytest.param("none", marks=pytest.mark.slow), "process"])
def test_reruns_leave_their_value_and_no_weights(workplace: Path, isolation: str) -> None:
    file = tools.study_file(
        workplace, isolation=isolation, n_trials=2, confirm={"top": 1, "seeds": 2}, **{"run.epochs": 2}
    )
    assert tools.optimize(workplace, file)[0] == 0
    folder = workplace / "studies" / "small"
    runs = sorted((folder / "confirm").glob("trial_*/seed_*"))
    assert [json.loads((run / "summary.json").read_text())["outcome"] for run in runs] == ["completed"] * 2
    assert not list((folder / "confirm").rglob("*.pt")) and (folder / "best" / "best.pt").exists()
    left = runs[0] / "checkpoints" / "last.pt"  # of a scheduler that was killed before it removed it
    left.parent.mkdir(exist_ok=True)
    left.write_text("")
    assert tools.optimize(workplace, file)[0] == 0
    assert not left.exists()


def test_a_rerun_whose_folder_cannot_be_written_is_tried_again(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial_errors, "_FIRST_DELAY", 0.05)
    starts: list[str] = []

    def run(config: Any, **options: Any) -> RunResult:
        place = options["run_dir"]
        starts.append(place.name)
        if starts.count("seed_1") in (1, 2) and place.name == "seed_1":
            raise OSError(errno.EROFS, "x", str(place / "metrics.csv"))
        return util.run(config, **options)

    file = tools.study_file(
        workplace, isolation="none", n_trials=1, confirm={"top": 1, "seeds": 2}, **{"run.epochs": 1}
    )
    study.optimize(OptimizeConfig.from_yaml(file), run, console="quiet")
    assert starts == ["trial_00000", "seed_1", "seed_1", "seed_1", "seed_2"]
    report = json.loads((workplace / "studies" / "small" / "confirm.json").read_text())
    assert isinstance(report["candidates"][0]["values"][0], float)
    assert capsys.readouterr().out.count("seed 1: storage fails: ") == 2


def test_a_rerun_that_diverges_leaves_no_weights_either(workplace: Path) -> None:
    """A rate that is fine in the search; the recipe is changed before the confirmation."""
    changes: dict[str, Any] = {"isolation": "none", "n_trials": 1, "run.epochs": 2}
    assert main.main(["--optimize", str(tools.study_file(workplace, **changes)), "--quiet"]) == 0
    facts = workplace / "studies" / "small" / "trial_00000" / "trial.json"
    found = json.loads(facts.read_text())
    found["recipe"]["optimizer"] = {"target": "torch.optim.SGD", "lr": 1e30}
    facts.write_text(json.dumps(found))
    file = tools.study_file(workplace, **changes, confirm={"top": 1, "seeds": 2})
    assert main.main(["--optimize", str(file), "--quiet"]) == 0
    folder = workplace / "studies" / "small" / "confirm"
    outcomes = [json.loads(p.read_text())["outcome"] for p in folder.glob("trial_*/seed_*/summary.json")]
    assert outcomes == ["diverged", "diverged"] and not list(folder.rglob("*.pt"))
    candidate = json.loads((folder.parent / "confirm.json").read_text())["candidates"][0]
    assert (candidate["diverged"], candidate["mean"]) == (2, None)  # JSON has no infinity
    page = (folder.parent / "report.html").read_text()
    assert "diverged on 2 of 2 seeds" in page
    assert "On 2 fresh seeds each of the best trials diverged at least once." in page


@pytest.mark.slow
@pytest.mark.parametrize("isolation", [pytest.param("none", marks=pytest.mark.slow), "process"])
def test_ctrl_c_leaves_reruns_resumable_and_says_how_to_go_on(tmp_path: Path, isolation: str) -> None:
    path = tools.study_file(
        tmp_path, n_trials=1, isolation=isolation, confirm={"top": 1, "seeds": 3},
        search_space={"optimizer.lr": {"choices": [0.01]}},
        **{"run.net": {"target": "faulty.Faulty", "seconds": 0.02}, "run.epochs": 20,
           "run.checkpoint": {"every_epochs": 1}},
    )  # fmt: skip
    process = tools.start(tmp_path, "--optimize", str(path))
    folder = tmp_path / "studies" / "small"
    rerun = folder / "confirm" / "trial_00000" / "seed_1"
    tools.wait_for(lambda: tools.epochs_done(rerun) >= 3)
    process.send_signal(signal.SIGINT)
    code, out, err = tools.finish(process, timeout=20)
    assert (code, err) == (130, ""), out
    assert "Ctrl-C: stopping; running reruns can be resumed. Press Ctrl-C again to abort" in out
    tail = out.partition("Press Ctrl-C again to abort\n")[2]
    assert "Stopped: Ctrl-C. Trials: 1 completed." in tail and "Best     trial 0: val_loss " in tail
    assert "\nContinue " in tail and tail.endswith(f"main.py --optimize {path}\n")
    assert json.loads((rerun / "summary.json").read_text())["outcome"] == "interrupted"
    assert list(rerun.rglob("last.pt")) and not (folder / "confirm.json").exists()
    assert sorted(p.name for p in rerun.parent.iterdir()) == ["seed_1"], "no other rerun was begun"
    before = tools.epochs_done(rerun)
    assert before < 20
    assert tools.optimize(tmp_path, path)[0] == 0
    assert tools.epochs_done(rerun) == 20 and (folder / "confirm.json").exists()
