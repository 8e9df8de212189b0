import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lab.report import run_list

Make = Callable[..., Path]
A, B = "20260101-000000_unet", "20260101-000001_unet"


def ids(rows: list[run_list.RunRow]) -> list[str]:
    return [row.run_id for row in rows]


@pytest.fixture
def runs(make: Make, tmp_path: Path) -> list[run_list.RunRow]:
    def at(hour: int) -> str:
        return f"2026-01-01T{hour:02d}:00:00+00:00"

    dice = {"monitor": {"metric": "val_dice", "mode": "max"}}
    make("a", {"val_loss": 0.3, "val_dice": 0.7}, value=0.7, started=at(1), seconds=10.0, **dice)
    make("b", {"val_loss": 0.1, "val_dice": 0.9}, value=0.9, started=at(3), outcome="early_stopped", **dice)
    make(
        "c",
        {"val_loss": 0.2},
        started=at(2),
        project="wells",
        config={"optimizer": {"lr": 0.01}, "size": [64, 32]},
    )
    make("d", {"val_loss": math.nan}, started=at(0), outcome="diverged", value=None)
    return run_list.read_runs(tmp_path / "runs")


def test_the_newest_come_first(runs: list[run_list.RunRow]) -> None:
    assert ids(runs) == ["b", "c", "a", "d"]


@pytest.mark.parametrize(
    ("metric", "descending", "order"),
    [
        ("val_dice", None, ["b", "a", "c", "d"]),  # its mode is max; the others have none
        ("val_dice", False, ["a", "b", "c", "d"]),
        ("val_loss", None, ["b", "c", "a", "d"]),
        ("val_loss", True, ["a", "c", "b", "d"]),
        ("last.val_loss", None, ["b", "c", "a", "d"]),
        ("best.val_loss", None, ["b", "c", "a", "d"]),
        ("seconds", None, ["b", "c", "d", "a"]),
    ],
)
def test_runs_are_sorted_and_those_without_the_number_come_last(
    metric: str, descending: bool | None, order: list[str], runs: list[run_list.RunRow]
) -> None:
    assert ids(run_list.sort(runs, metric, descending)) == order


def test_an_unknown_metric_names_the_nearest(runs: list[run_list.RunRow]) -> None:
    with pytest.raises(ValueError, match=r"no run has the metric 'val_dise'; did you mean val_dice"):
        run_list.sort(runs, "val_dise")
    assert run_list.sort([], "anything") == []


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("optimizer.lr=0.001", ["b", "a", "d"]),
        ("optimizer.lr=1e-3", ["b", "a", "d"]),
        ("optimizer.lr=1.0e-02", ["c"]),
        ("optimizer.lr=1", []),
        ("optimizer=torch.optim.AdamW", ["b", "a", "d"]),
        ("optimizer.target=torch.optim.AdamW", ["b", "a", "d"]),
        ("size=[64, 32.0]", ["c"]),
        ("size.1=32", ["c"]),
        ("seeds.0=0", ["b", "a", "d"]),
        ("seeds.0=false", []),
        ("seeds.0=null", []),
        ("seeds=[0", []),  # no YAML, so it is text
    ],
)
def test_the_config_filters(where: str, kept: list[str], runs: list[run_list.RunRow]) -> None:
    assert ids(run_list.select(runs, where=[where])) == kept


def test_filters_add_up(runs: list[run_list.RunRow]) -> None:
    assert ids(run_list.select(runs, project="cells")) == ["b", "a", "d"]
    assert ids(run_list.select(runs, project="cells", outcome="diverged")) == ["d"]
    assert ids(run_list.select(runs, where=["optimizer.lr=1e-3", "size.0=64"])) == []
    assert run_list.select(runs, outcome="failed") == []


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (
            {"where": ["optimizer.lrr=1"]},
            r"no run has 'optimizer.lrr' in its config; did you mean optimizer.lr",
        ),
        ({"where": ["optimizer.lr"]}, "expected path=value"),
        ({"where": ["=1"]}, "expected path=value"),
        ({"outcome": "done"}, "there is no outcome 'done'; outcomes are: completed, early_stopped"),
    ],
)
def test_a_filter_that_cannot_hold_is_an_error(
    filters: dict[str, Any], said: str, runs: list[run_list.RunRow]
) -> None:
    with pytest.raises(ValueError, match=said):
        run_list.select(runs, **filters)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("parts", "shown"),
    [
        ({}, "running"),  # this process
        ({"pid": 1}, "running"),  # somebody else's
        ({"pid": ended_process}, "killed"),
        ({"pid": None}, "killed"),
        ({"pid": 10**30}, "killed"),
        ({"pid": ended_process, "host": "another"}, "running"),  # nobody can know
    ],
)
def test_a_run_whose_process_is_gone_was_killed(parts: dict[str, Any], shown: str, make: Make) -> None:
    made = {key: value() if callable(value) else value for key, value in parts.items()}
    folder = make("r", outcome="running", value=None, best={}, **made)
    assert run_list.read_run(folder).outcome == shown


@pytest.mark.parametrize(
    "content", ["", '{"outcome": "comp', "[1, 2]", "null", b"\xff\xfe", "[" * 100_000], ids=range(6)
)
def test_an_unreadable_summary_is_shown_as_such(content: str | bytes, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "broken"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    rows = run_list.read_runs(tmp_path / "runs")
    assert [(row.run_id, row.outcome) for row in rows] == [("broken", "unreadable")]
    assert "unreadable" in run_list.as_table(rows, width=80)


FIELDS = [
    "monitor",
    "value",
    "best",
    "last",
    "epochs",
    "seconds",
    "started",
    "config",
    "seeds",
    "spread",
    "project",
    "outcome",
    "name",
]
ODD = [
    *itertools.product(FIELDS, [None, "text", [1], {"a": {}}, True, "\ud800"]),
    *itertools.product(["epochs", "seconds", "value", "seed"], [10**400, -(10**400), 1e300]),
    ("started", "0001-01-01T00:00:00+00:00"),
    ("started", "9999-12-31T23:59:59-23:59"),
    ("definitions", [1]),
]


@pytest.mark.parametrize(("field", "value"), ODD, ids=range(len(ODD)))
def test_no_odd_summary_breaks_the_list(field: str, value: Any, make: Make, tmp_path: Path) -> None:
    make("ok")
    folder = make("odd")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, field: value}))
    rows = run_list.read_runs([tmp_path / "runs"])
    assert len(run_list.as_table(run_list.sort(rows, "val_loss"), "val_loss", width=100).splitlines()) == 5
    assert len(json.loads(run_list.as_json(rows))) == 2


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "file", ["config.yaml", "metrics.csv", "provenance.json", "checkpoints/best.pt", "seed_1/a"]
)
def test_a_run_with_a_pipe_is_refused_instead_of_waited_for(file: str, make: Make, tmp_path: Path) -> None:
    folder = make("odd")
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).unlink(missing_ok=True)
    os.mkfifo(folder / file)
    for name in ("odd", "od", str(folder)):
        with pytest.raises(ValueError, match=rf"odd/{file}: is no regular file"):
            run_list.find(name, [tmp_path / "runs"])


@pytest.mark.timeout(20)
def test_no_odd_folder_breaks_the_list(make: Make, tmp_path: Path) -> None:
    """Pipes and devices have no end, links may lead to themselves, and names be of any bytes."""
    make("ok")
    root = tmp_path / "runs"
    for name in ("pipe", "device", "folder", "loop"):
        (root / name).mkdir()
    os.mkfifo(root / "pipe" / "summary.json")
    (root / "device" / "summary.json").symlink_to("/dev/zero")
    (root / "folder" / "summary.json").mkdir()
    (root / "loop" / "summary.json").symlink_to("summary.json")
    (root / "itself").symlink_to("itself")
    (root / "new\nline \x1b[31m \udcff").mkdir()
    rows = run_list.read_runs([root])
    outcomes = {row.run_id: row.outcome for row in rows}
    assert outcomes == {
        "ok": "completed",
        "pipe": "unreadable",
        "device": "unreadable",
        "folder": "unreadable",
        "loop": "unreadable",
        "new\nline \x1b[31m \udcff": "no summary",
    }
    lines = run_list.as_table(rows, width=80).splitlines()
    assert len(lines) == 2 + len(rows) + 1
    assert any(line.startswith(r"new\nline \x1b[31m \xff  ") for line in lines)


def test_what_is_no_run_is_passed_over(make: Make, tmp_path: Path) -> None:
    make("r")
    (tmp_path / "runs" / "compare.png").touch()
    (tmp_path / "runs" / ".hidden").mkdir()
    (tmp_path / "runs" / "begun").mkdir()
    rows = run_list.read_runs([tmp_path / "runs", tmp_path / "absent", tmp_path / "runs" / "compare.png"])
    assert sorted((row.run_id, row.outcome) for row in rows) == [("begun", "no summary"), ("r", "completed")]


def test_several_seeds_are_one_line_with_mean_and_spread(make: Make, tmp_path: Path) -> None:
    make("many", {"val_loss": 0.25}, seeds=[{"seed": 0}, {"seed": 1}], spread={"val_loss": 0.0123})
    make("many/seed_0")
    text = run_list.as_table(run_list.read_runs([tmp_path / "runs"]))
    assert "0.2500 ± 0.012 (n=2)" in text and "seed_0" not in text and "1 run, newest first" in text


def test_the_table(make: Make, tmp_path: Path) -> None:
    started = (datetime.now(UTC) - timedelta(hours=2, minutes=1)).isoformat()
    make("20260101-000000_unet", {"val_loss": 0.5, "val_dice": 0.875}, started=started)
    rows = run_list.read_runs([tmp_path / "runs"])
    assert run_list.as_table(rows, "val_dice", width=100, total=3).splitlines() == [
        "run                   outcome    val_loss  val_dice  epochs        time  age",
        "────────────────────  ─────────  ────────  ────────  ──────  ──────────  ───",
        "20260101-000000_unet  completed    0.5000    0.8750       5  2 min 41 s  2 h",
        "1 of 3 runs, by val_dice",
    ]


def test_monitors_that_differ_are_named_in_each_line(runs: list[run_list.RunRow]) -> None:
    lines = run_list.as_table(runs, width=100).splitlines()
    assert lines[0].split() == ["run", "outcome", "project", "value", "epochs", "time", "age"]
    assert "val_dice 0.9000" in lines[2] and "val_loss 0.2000" in lines[3]


def test_a_run_that_returns_its_last_value_says_so(make: Make, tmp_path: Path) -> None:
    make("r", monitor={"metric": "val_loss", "mode": "min", "returns": "last"}, value=0.75)
    text = run_list.as_table(run_list.read_runs([tmp_path / "runs"]), width=100)
    assert "last.val_loss" in text and "0.7500" in text


@pytest.mark.parametrize("width", [200, 100, 80, 60, 40, 30])
def test_the_table_fits_the_terminal(width: int, make: Make, tmp_path: Path) -> None:
    for number in range(3):
        make(f"20260101-00000{number}_{'spheroids_' * 6}", project=f"p{number}")
    text = run_list.as_table(run_list.read_runs([tmp_path / "runs"]), "last.val_loss", width=width)
    assert max(map(len, text.splitlines()[:-1])) <= width
    assert text.count("20260101") == 3 if width >= 60 else "2026" in text


def test_no_runs_say_how_to_make_one() -> None:
    assert "main.py --run configs/run.yaml" in run_list.as_table([])
    assert run_list.as_table([], total=7) == "None of 7 runs matches."
    assert json.loads(run_list.as_json([])) == []


def test_json_holds_the_summaries_and_no_nan(make: Make, tmp_path: Path) -> None:
    folder = make("r", outcome="running", pid=ended_process())
    text = (
        (folder / "summary.json").read_text().replace('"val_loss": 0.5', '"val_loss": NaN, "big": 1e999', 1)
    )
    (folder / "summary.json").write_text(text)
    (row,) = json.loads(run_list.as_json(run_list.read_runs([tmp_path / "runs"])), parse_constant=pytest.fail)
    assert row["outcome"] == "killed" and row["folder"] == str(folder)
    assert row["best"]["val_loss"] is None and row["best"]["big"] is None
    assert row["config"]["optimizer"]["lr"] == 1e-3


def test_age_is_taken_from_the_folder_where_the_summary_does_not_say(make: Make) -> None:
    folder = make("r", started="yesterday")
    os.utime(folder, (time.time() - 7300,) * 2)
    assert run_list.as_table([run_list.read_run(folder)], width=100).splitlines()[2].endswith("2 h")


def test_listing_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'matplotlib', 'pydantic', 'yaml'}"
    code = f"import sys, lab.report.run_list; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def two(make: Make, tmp_path: Path) -> Path:
    for name in (A, B):
        make(name)
    return tmp_path / "runs"


def test_runs_are_found_by_path_name_and_beginning(two: Path) -> None:
    assert run_list.find(str(two / A), []) == two / A
    assert run_list.find(A, [two / "absent", two]) == two / A
    assert run_list.find("20260101-000001", [two]) == two / B
    (two / A / "seed_0").mkdir()
    (two / A / "seed_0" / "config.yaml").touch()
    assert run_list.find(f"{A}/seed_0", [two]) == two / A / "seed_0"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("20260101-000001_umet", f"there is no run '20260101-000001_umet'; did you mean {B}"),
        ("unet", f"there is no run 'unet'; did you mean {A} or {B}"),
        ("2026", f"2 runs begin with '2026': {A}, {B}"),
        ("", "there is no run ''"),
    ],
)
def test_a_run_that_is_not_there_names_the_nearest(name: str, said: str, two: Path) -> None:
    with pytest.raises(ValueError, match=said):
        run_list.find(name, [two])


def test_an_exact_name_is_not_hidden_by_a_longer_one(make: Make, tmp_path: Path) -> None:
    make("a")
    make("a-2")
    assert run_list.find("a", [tmp_path / "runs"]).name == "a"
