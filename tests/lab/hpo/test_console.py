"""What a person reads of a study."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial

from lab.events import Outcome
from lab.hpo.clock import Clock
from lab.hpo.console import ConsoleCallback, StudyConsole, standing
from lab.hpo.executor import Slot
from lab.hpo.learning_curve import Curve
from lab.hpo.leases import Lease
from lab.hpo.study_callbacks import TrialResult
from lab.hpo.trial import Trial
from lab.hpo.worker_main import TrialFinished
from tests.lab.hpo.small_study import config_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


VALUES = {"optimizer.lr": 0.001, "optimizer": {"target": "torch.optim.SGD"}}


def over(
    console: StudyConsole,
    outcome: Outcome = Outcome.COMPLETED,
    cause: str = "",
    values: dict[str, Any] = VALUES,
    shown: dict[str, Any] = VALUES,
) -> None:
    trial = Trial(Lease(3, 3, "me", 1), values, None, "", Path("trial_00003"), False, Curve(4))
    best = create_trial(value=0.0123) if outcome is Outcome.COMPLETED else None
    if best is not None:
        best.number = 3
    finished = TrialFinished(outcome, cause, epochs=1, seconds=65.0)
    result = TrialResult(outcome, {"val_loss": 0.0123}, finished, (), best)
    console.trial_over(trial, result, "1/4 done", shown)


def test_a_line_a_trial_and_where_the_study_stands() -> None:
    out = io.StringIO()
    over(StudyConsole("auto", out))
    first, second = out.getvalue().splitlines()
    expected = "Trial 3 completed val_loss 0.0123 (1 epoch, 1 min 05 s) * best"
    assert " ".join(first.split()) == f"{expected} optimizer.lr=0.0010 optimizer=SGD"
    assert second.strip() == "1/4 done"


def test_choices_have_the_names_of_people() -> None:
    out = io.StringIO()
    values = {"criterion": {"target": "torch.nn.HuberLoss", "delta": 2.0}}
    shown = {"criterion": "HuberLoss(delta=2.0)"}
    over(StudyConsole("auto", out), Outcome.INFEASIBLE, "net is infeasible", values, shown)
    lines = out.getvalue().splitlines()
    assert lines[0].endswith("criterion=HuberLoss(delta=2.0)") and lines[1].strip() == "net is infeasible"


def test_a_bad_end_has_its_cause_and_no_value() -> None:
    out = io.StringIO()
    over(StudyConsole("auto", out), Outcome.FAILED, "TypeError: planted")
    first, second = out.getvalue().splitlines()[:2]
    assert "val_loss" not in first and second.strip() == "TypeError: planted"


def test_quiet_has_notes_and_the_end_only() -> None:
    out = io.StringIO()
    console = StudyConsole("quiet", out)
    console.begin({"Study": "x"})
    over(console)
    console.note("the server is away")
    console.note("studies/x: no space left")
    console.note("mine.net: has no text")
    console.end(["Done."])
    assert out.getvalue().splitlines() == [
        "The server is away", "studies/x: no space left", "mine.net: has no text", "Done.",
    ]  # fmt: skip


def test_json_has_an_object_a_line() -> None:
    out = io.StringIO()
    console = StudyConsole("json", out)
    console.begin({"Study": "x"}, study="x")
    over(console, Outcome.DIVERGED, "loss is nan")
    console.note("careful")
    console.end(["Done."], best=3)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["study_start", "trial_end", "note", "study_end"]
    assert events[1]["cause"] == "loss is nan" and events[1]["params"]["optimizer.lr"] == 0.001


def test_on_a_terminal_the_last_line_is_where_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    console = StudyConsole("auto", out)
    console.status("0/4 done")
    over(console)
    assert out.getvalue().endswith("0/4 done") and "1/4 done" not in out.getvalue()
    assert out.getvalue().count("\n") == 1


@pytest.mark.parametrize("columns", [20, 12, 1])
def test_the_last_line_is_cut_to_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()
    StudyConsole("auto", out).status("3/20 done (1 pruned), 2 running · best 0.0123")
    shown = out.getvalue().removeprefix("\r\x1b[K")
    assert len(shown) == columns - 1 and "3/20 done (1 pruned)".startswith(shown[:-1])


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_a_terminal_that_cannot_write_a_line_anew_gets_lines(
    term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    out = Terminal()
    console = StudyConsole("auto", out)
    console.status("0/4 done")
    over(console)
    assert "\x1b" not in out.getvalue() and "\r" not in out.getvalue()
    assert out.getvalue().splitlines()[-1].strip() == "1/4 done"


def test_a_trial_that_makes_no_step_for_long_is_named() -> None:
    out, seconds = io.StringIO(), [0.0]
    clock = Clock(now=lambda: seconds[0], monotonic=lambda: seconds[0])
    config = config_of("sqlite:///unused.db")
    console = ConsoleCallback(config, optuna.create_study(), StudyConsole("auto", out), clock)
    trials = [Trial(Lease(n, n, "me", 1), {}, None, "", Path("x"), False, Curve(4)) for n in range(3)]
    for trial in trials:
        console.on_trial_start(trial, Slot(0))

    def status(at: float) -> str:
        seconds[0] = at
        console.on_poll()
        return out.getvalue().splitlines()[-1]

    assert status(200.0) == "0/12 done"
    console.on_steps(trials[0])
    console.on_trial_release(trials[2])
    assert status(301.0) == "0/12 done · trial 1: no step for 5 min 01 s"
    console.on_steps(trials[1])
    assert status(380.0) == "0/12 done"


def test_standing() -> None:
    counts = Counter({"completed": 8, "pruned": 3, "timed_out": 1})
    text = standing(counts, 20, 2, "0.0123 (trial 7)", 125.0)
    assert text == (
        "12/20 done (3 pruned, 1 timed out), 2 running · best 0.0123 (trial 7) · about 2 min 05 s left"
    )
    assert standing(Counter(), 20, 0, "", None) == "0/20 done"
    assert standing(Counter(completed=20), 20, 0, "1 (trial 1)", 0.0) == "20/20 done · best 1 (trial 1)"
