"""Trials that a constructor refuses: an outcome of their own, learned from, and no failure of the code."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from torch import Tensor, nn

import main
import util
from lab import Infeasible
from lab.config import OptimizeConfig
from lab.config.problems import ConfigError
from lab.hpo import study
from lab.hpo.study import StudyResult
from tests import study_tools as tools
from tests.lab.hpo.test_new_points import Bench

HERE = "tests.lab.hpo.test_infeasible"
GRID: dict[str, Any] = {"net.width": {"choices": [4, 6]}, "net.heads": {"choices": [2, 4]}}
CAUSE = "net: tests.lab.hpo.test_infeasible.Picky"


class Picky(nn.Module):
    """A network whose heads must divide its width; `how` it refuses others."""

    def __init__(self, width: int = 8, heads: int = 2, how: str = "infeasible", always: bool = False) -> None:
        super().__init__()
        if width % heads or always:
            match how:
                case "infeasible":
                    raise Infeasible(f"{heads} heads don't divide {width}")
                case "pruned":
                    raise optuna.TrialPruned("heads")
                case "value":
                    raise ValueError("heads")
                case "bare":
                    assert width % heads == 0 and not always
                case "attention":
                    nn.MultiheadAttention(width, heads)  # an AssertionError of torch's
                case "type":
                    raise TypeError("a bug")
        self.late = how == "late" and bool(width % heads)
        self.net = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.late:
            raise Infeasible("seen in the first batch")
        result: Tensor = self.net(x)
        return result


@pytest.fixture
def search(workplace: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a small study here: its result, and what was printed."""

    def call(how: str, always: bool = False, **changes: Any) -> tuple[StudyResult, str]:
        net = {"target": f"{HERE}.Picky", "how": how, "always": always}
        given: dict[str, Any] = {"isolation": "none", "run.epochs": 1, "run.net": net, "search_space": GRID}
        config = OptimizeConfig.from_yaml(tools.study_file(workplace, **given | changes))
        config.check()
        result = study.optimize(config, util.run)
        return result, capsys.readouterr().out

    return call


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("infeasible", f"{CAUSE} is infeasible: 4 heads don't divide 6 (test_infeasible.py:"),
        ("pruned", f"{CAUSE} is infeasible: TrialPruned: heads (test_infeasible.py:"),
        ("value", f"{CAUSE} can't be built: heads (test_infeasible.py:"),
        ("bare", f"{CAUSE} can't be built: AssertionError: assert ("),
        ("attention", f"{CAUSE} can't be built: AssertionError: embed_dim must be divisible by num_heads ("),
        ("late", "seen in the first batch"),
    ],
)
def test_a_refused_combination_is_infeasible(search: Any, workplace: Path, how: str, cause: str) -> None:
    result, out = search(how, sampler={"target": "optuna.samplers.GridSampler"})
    assert result.outcomes == {"completed": 3, "infeasible": 1} and not result.failed
    (trial,) = (t for t in tools.trials(workplace) if t.user_attrs["outcome"] == "infeasible")
    assert trial.params == {"net.width": 6, "net.heads": 4}
    assert (trial.state, trial.value, trial.constraints) == (TrialState.PRUNED, None, {"feasible": 1.0})
    assert str(trial.user_attrs["cause"]).startswith(cause)
    assert "infeasible" in out and "GridSampler does not learn from infeasible trials" in out
    folder = workplace / "studies" / "small"
    page = (folder / "report.html").read_text()
    assert 'class="o-infeasible"' in page and "infeasible</th>" in page
    rows = list(csv.DictReader((folder / "leaderboard.csv").open()))
    assert [row["outcome"] for row in rows] == ["completed"] * 3 + ["infeasible"]
    assert not list(folder.glob("trial_*/traceback.txt")) or how == "late"


@pytest.mark.parametrize(
    ("how", "changes"),
    [
        ("type", {}),  # a bug of the constructor's
        ("value", {"search_space": {"optimizer.lr": {"choices": [0.1, 0.2, 0.3, 0.4]}}}),  # always the same
    ],
)
def test_a_bug_is_no_infeasible_trial(search: Any, how: str, changes: dict[str, Any]) -> None:
    result, _ = search(how, always=True, n_trials=4, **changes)
    assert result.outcomes == {"failed": 3} and "failed alike" in result.reason


def test_infeasible_trials_are_outside_of_the_circuit_breaker(search: Any) -> None:
    space = {
        "net.width": {"type": "int", "low": 11, "high": 19},
        "net.heads": {"choices": [9, 10]},
    }
    result, out = search("infeasible", search_space=space, n_trials=18, max_consecutive_failures=1)
    assert result.outcomes == {"infeasible": 17, "completed": 1} and result.reason == ""
    assert out.count("does not learn from infeasible trials") == 1  # RandomSampler


def test_a_space_of_which_nothing_can_be_built_ends_the_study(search: Any) -> None:
    space = {"net.width": {"type": "int", "low": 11, "high": 60}}
    result, out = search("value", always=True, search_space=space, n_trials=40)
    assert result.outcomes == {"infeasible": 20} and result.failed
    assert result.reason.startswith(
        "none of 20 trials was feasible; the most frequent cause (20 times): net:"
    )
    assert "No trial has finished well" in out


def test_a_space_that_is_exhausted_ends_the_study_well(search: Any, workplace: Path) -> None:
    confirm = {"top": 1, "seeds": 2}
    result, out = search("infeasible", n_trials=9, confirm=confirm)
    assert result.outcomes == {"completed": 3, "infeasible": 1} and not result.failed and result.done
    assert "Done: all 4 points of the space have been tried. Trials: " in out
    assert (workplace / "studies" / "small" / "confirm.json").exists()
    assert main.main(["--optimize", "opt.yaml", "--quiet"]) == 0, "and so it does when it is asked again"


def test_a_constraint_spends_no_trial_on_them(search: Any, workplace: Path) -> None:
    result, _ = search("infeasible", n_trials=9, constraints=["net.width % net.heads == 0"])
    assert result.outcomes == {"completed": 3}
    assert result.reason == "all 3 points that meet the constraints (of 4) have been tried"
    assert not (workplace / "studies" / "small" / "trial_00003").exists()


def test_several_seeds(search: Any) -> None:
    result, _ = search("infeasible", n_trials=4, **{"run.seeds": [0, 1]})
    assert result.outcomes == {"completed": 3, "infeasible": 1}


@pytest.mark.parametrize("name", [pytest.param("TPESampler", marks=pytest.mark.slow), "NSGAIISampler"])
def test_several_objectives(search: Any, name: str) -> None:
    monitor = [{"metric": "val_loss", "mode": "min"}, {"metric": "parameters", "mode": "min"}]
    space = {"net.width": {"type": "int", "low": 4, "high": 9}, "net.heads": {"choices": [1, 2]}}
    sampler = {"target": f"optuna.samplers.{name}"} | ({"n_startup_trials": 2} if name[0] == "T" else {})
    result, _ = search(
        "infeasible", search_space=space, n_trials=12, sampler=sampler, **{"run.monitor": monitor}
    )
    assert result.outcomes == {"completed": 9, "infeasible": 3} and result.best is not None


@pytest.mark.slow
def test_in_processes_of_their_own(workplace: Path) -> None:
    net = {"target": f"{HERE}.Picky", "how": "bare"}
    file = tools.study_file(workplace, search_space=GRID, **{"run.net": net, "run.epochs": 1, "workers": 2})
    code, out, err = tools.optimize(workplace, file)
    assert code == 0, (out, err)
    assert "Done. Trials: " in out and "1 infeasible" in out


@pytest.mark.parametrize("how", ["infeasible", "pruned", "value", "bare", "attention", "late"])
def test_a_run_of_its_own_is_refused_as_a_wrong_config_is(
    workplace: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    (workplace / "run.yaml").write_text(
        "data: {target: lab.data.function, train_count: 32, val_count: 16}\nepochs: 1\ndevice: cpu\n"
        f"net: {{target: {HERE}.Picky, width: 6, heads: 4, how: {how}}}\n"
    )
    assert main.main(["--run", "run.yaml"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err and ("run.yaml:4: net: tests" in err or "seen in the first batch" in err)


def infeasible_share(folder: Path, known: bool) -> float:
    """Of 20 proposals, after 24 trials of a flat objective half of whose space is infeasible."""
    space = {"optimizer.lr": {"type": "float", "low": 0.0, "high": 1.0}}
    sampler = {"target": "optuna.samplers.TPESampler", "n_startup_trials": 10}
    folder.mkdir()
    bench = Bench(folder, space, n_trials=60, sampler=sampler)
    late = []
    for number in range(44):
        trial = bench.next()
        assert trial is not None
        bad = trial.values["optimizer.lr"] > 0.5
        late += [bad] if number >= 24 else []
        with bench.leases.writing(trial.lease) as writer:
            if bad and known:
                writer.system_attribute("constraints:feasible", 1.0)
            refused = TrialState.PRUNED if known else TrialState.FAIL  # which samplers don't see
            writer.finish(refused if bad else TrialState.COMPLETE, None if bad else [1.0])
    return sum(late) / len(late)


def test_tpe_learns_from_them(tmp_path: Path) -> None:
    assert infeasible_share(tmp_path / "infeasible", known=True) <= 0.25
    assert infeasible_share(tmp_path / "failed", known=False) >= 0.4


def test_a_fork_knows_them(search: Any, workplace: Path) -> None:
    search("infeasible", n_trials=4)
    assert main.main(["--optimize", "opt.yaml", "--quiet", "--fork", "again"]) == 0
    known = tools.trials(workplace, "again")
    assert [t.constraints for t in known if t.user_attrs["outcome"] == "infeasible"] == [{"feasible": 1.0}]
    assert len(known) == 4, "each of its points has been tried"


def test_a_study_whose_file_leaves_no_feasible_point_is_refused(workplace: Path) -> None:
    path = tools.study_file(workplace, constraints=["net.width < 2"])
    with pytest.raises(ConfigError, match=r"violated: net\.width < 2"):
        OptimizeConfig.from_yaml(path).check_shapes()
    assert main.main(["--optimize", str(path)]) == 2
    assert not (workplace / "studies").exists()


def test_the_exception_is_imported_at_once() -> None:
    code = (
        "import sys; from lab import Infeasible; assert not {'torch', 'numpy', 'optuna'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(main.__file__).parent)
