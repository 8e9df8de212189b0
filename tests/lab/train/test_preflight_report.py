"""What a check found, as text and as JSON, and that it is read without torch."""

import json
import subprocess
import sys
from pathlib import Path

from lab.train.preflight_report import Costs, Report

ROOT = Path(__file__).parents[3]


def test_as_text() -> None:
    report = Report(figures={"device": "cpu"}, shapes=[("a Linear", "2x1", "2x3"), ("(whole) N", "2", "3")])
    report.notes.append("so it is")
    report.warnings.append("careful")
    assert report.passed
    assert report.as_text().splitlines() == [
        "device                      cpu", "", "Shapes", "  a Linear   2x1 -> 2x3", "  (whole) N  2 -> 3", "",
        "Note: so it is", "Warning: careful", "", "Ready to run.",
    ]  # fmt: skip
    report.faults.append("broken")
    assert not report.passed
    assert report.as_text().splitlines()[-4:] == [
        "Warning: careful", "Fault: broken", "", "Not ready: fix the errors above.",
    ]  # fmt: skip


def test_as_json() -> None:
    costs = Costs(10, 0.5, 2.0, 7, 3)
    data = json.loads(Report(loss=float("nan"), costs=costs, faults=["broken"]).as_json())
    assert data == {
        "figures": {}, "shapes": [], "loss": None, "out_of_memory": False, "notes": [], "warnings": [],
        "faults": ["broken"], "passed": False,
        "costs": {
            "peak_bytes": 10, "epoch_seconds": 0.5, "seconds": 2.0, "checkpoint_bytes": 7, "checkpoints": 3,
        },
    }  # fmt: skip
    assert json.loads(Report().as_json())["costs"] is None


def test_the_check_of_a_study_does_without_torch() -> None:
    code = "import sys, lab.hpo.preflight, lab.train.preflight_report as report\n"
    code += "print({'torch', 'util'} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("none\n", "")
