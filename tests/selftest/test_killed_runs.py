"""Resumed runs that the judges reject: for any bit that differs, or a batch that was left out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import RunConfig, import_policy
from selftest.bench import PLANTED
from selftest.killed_runs import differences, epochs, judge_steps, outcome
from selftest.watched_training import digest, footprints, stateful
from util import run


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.tensor([0.0, -0.0])),
        (torch.zeros(2), torch.zeros(2, 1)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        ({"a": 1}, {"b": 1}),
        ([1, [2]], [1, 2]),
        (0.1 + 0.2, 0.3),
        ({"a": torch.ones(1)}, {"a": torch.ones(1) + 1e-7}),
    ],
)
def test_a_digest_sees_every_bit(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest(one) == digest(one)


def test_differences_are_named() -> None:
    assert list(differences({"model": "a" * 64}, {"model": "a" * 64})) == []
    (said,) = differences({"model": "a" * 64, "rng": "c"}, {"model": "b" * 64, "rng": "c"})
    assert said == f"model: expected {'a' * 64}, found {'b' * 64}"
    (said,) = differences({"ema": "a"}, {})
    assert said == "ema: expected a, found nothing"


def test_steps() -> None:
    whole = [(epoch, step) for epoch in (1, 2) for step in (1, 2, 3)]
    assert list(judge_steps(whole, 2, 3)) == []
    assert list(judge_steps([*whole[:5], *whole[4:]], 2, 3)) == [], "one is trained twice"
    (said,) = judge_steps([*whole[:3], *whole[4:]], 2, 3)
    assert said == "expected every batch to be trained, found none at (epoch, step) (2, 1)"
    (said,) = judge_steps([*whole, whole[3], whole[2]], 2, 3)
    assert said.startswith("expected to go back once")


def test_a_torn_footprint_is_left_out(tmp_path: Path) -> None:
    assert footprints(tmp_path) == []
    (tmp_path / "steps.txt").write_text("1 1\n1 2\n1")
    assert footprints(tmp_path) == [(1, 1), (1, 2)]


@pytest.mark.parametrize("number", range(5))
def test_runs_of_the_same_kind_are_equal_and_of_another_seed_are_not(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, PLANTED)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        values = stateful(number, epochs=2, seeds=seed, checkpoint={"every_epochs": 1})
        run(RunConfig.model_validate(values), run_dir=tmp_path / name, console="quiet")
    assert list(differences(epochs(tmp_path / "one"), epochs(tmp_path / "same"))) == []
    differing = " ".join(differences(outcome(tmp_path / "one"), outcome(tmp_path / "other")))
    assert all(part in differing for part in ("model", "optimizer", "history", "record"))


def test_the_runs_have_all_kinds_of_state() -> None:
    configs = [stateful(number) for number in range(2)]
    assert configs[0]["criterion"]["target"].endswith("Remembering") and configs[0]["data"]["own"]
    assert configs[1]["optimizer"]["target"].endswith("TwoModes")
    assert configs[1]["net"]["target"].endswith("PartlyFrozen") and configs[1]["loader"]["workers"] == 2


def test_a_run_without_an_end_differs_from_one_with(tmp_path: Path) -> None:
    (said,) = outcome(tmp_path).values()
    assert "there is no such checkpoint" in said
