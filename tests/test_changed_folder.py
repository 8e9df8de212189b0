"""Commands whose components call `os.chdir`: files land, and are found, where the command was started."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import main
from tests import classified_tools, study_tools

MOMENTS = (
    pytest.param("import", marks=pytest.mark.slow),
    pytest.param("construction", marks=pytest.mark.slow),
    "forward",
)
NET = """
import os
from pathlib import Path
from model import ConvNet

ELSEWHERE = Path(__file__).parent / "elsewhere"
ELSEWHERE.mkdir(exist_ok=True)
MOMENT = {moment!r}
if MOMENT == "import":
    os.chdir(ELSEWHERE)

class Net(ConvNet):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        if MOMENT == "construction":
            os.chdir(ELSEWHERE)

    def forward(self, images):
        if MOMENT == "forward":
            os.chdir(ELSEWHERE)
        return super().forward(images)
"""
RUN = {
    "epochs": 1,
    "batch_size": 4,
    "device": "cpu",
    "task": "lab.tasks.Classification",
    "data": {"target": "lab.data.class_folder", "root": "set", "size": 8, "test_share": 0.2},
    "criterion": "lab.losses.CrossEntropy",
    "metrics": {"accuracy": "lab.metrics.Accuracy"},
    "pictures": {"enabled": False},
    "threads": 1,
}
Command = Callable[..., str]


@pytest.fixture(params=MOMENTS)
def moment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def net(tmp_path: Path, moment: str) -> dict[str, object]:
    """The network, in a module of its own that no other test has imported."""
    name = f"wanders_{moment}_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(NET.format(moment=moment))
    classified_tools.make_images(tmp_path / "set", 24)
    return {"target": f"{name}.Net", "classes": "auto", "in_channels": "auto", "width": 4, "depth": 1}


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process; returns standard output."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> str:
        assert main.main([*arguments]) == 0, capsys.readouterr()
        assert Path.cwd() == tmp_path, "the command leaves the current folder as it was"
        return capsys.readouterr().out

    return call


def test_a_run_and_all_that_follows_it_stay_in_place(
    tmp_path: Path, net: dict[str, object], command: Command
) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps({**RUN, "seeds": [1, 2], "net": net}))
    out = command("--run", "run.yaml")
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"  in runs/{folder.name}\n" in out and f"Run      runs/{folder.name}/seed_2  (" in out
    command("--resume", folder.name, "--set", "epochs=2")
    summary = json.loads((folder / "seed_2" / "summary.json").read_text())
    assert (summary["outcome"], summary["epochs"]) == ("completed", 2)
    one = f"runs/{folder.name}/seed_1"
    assert f"Report: {one}/evaluation/test/report.html" in command("--evaluate", one)
    command("--evaluate", one, "--output", "judged")
    assert (tmp_path / one / "evaluation/test/metrics.json").is_file()
    assert (tmp_path / "judged" / "metrics.json").is_file()
    assert ": answers/predictions.csv\n" in command(
        "--predict", one, "--input", "set/dark", "--output", "answers"
    )
    rows = (tmp_path / "answers" / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == [f"set/dark/im{n:02}.png" for n in range(1, 24, 3)]
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("isolation", ["none", pytest.param("process", marks=pytest.mark.slow)])
def test_a_study_stays_in_place(
    tmp_path: Path, net: dict[str, object], command: Command, isolation: str
) -> None:
    changes = {
        "run": {**RUN, "net": net},
        "search_space": {"net.width": {"type": "int", "low": 2, "high": 8}},
    }
    study_tools.study_file(tmp_path, n_trials=1, isolation=isolation, preflight="off", **changes)
    out = command("--optimize", "opt.yaml")
    assert "Study    studies/small  (" in out and "Report   studies/small/report.html\n" in out
    study_tools.study_file(tmp_path, n_trials=2, isolation=isolation, preflight="full", **changes)
    command("--optimize", "opt.yaml")
    assert [trial.user_attrs["outcome"] for trial in study_tools.trials(tmp_path)] == ["completed"] * 2
    folder = tmp_path / "studies" / "small"
    for trial in (folder / "trial_00000", folder / "trial_00001"):
        assert (trial / "checkpoints" / "best.pt").is_file() and (trial / "console.log").is_file()
    assert "Run      studies/small/trial_00001  (" in (folder / "trial_00001" / "console.log").read_text()
    assert not list((tmp_path / "elsewhere").iterdir())
