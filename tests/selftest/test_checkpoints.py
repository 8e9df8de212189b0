"""Checkpoints that the judges reject: one that is lost, lags behind, or is damaged and loaded."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from lab import checkpoint
from selftest.checkpoints import damages, judge_damage, judge_writes


def write(folder: Path, name: str, number: int, level: float | None = None) -> Path:
    content = {"number": number, "model": torch.full((8,), float(number if level is None else level))}
    checkpoint.save(folder / name, content)
    return folder / name


def test_whole_files_are_as_promised(tmp_path: Path) -> None:
    write(tmp_path, "prev.pt", 4)
    write(tmp_path, "last.pt", 5)
    assert judge_writes(tmp_path, 5) == (0, [])
    assert judge_writes(tmp_path, 6) == (1, [])


@pytest.mark.parametrize(
    ("last", "written", "behind", "said"),
    [
        (b"half", 4, 0, "expected every checkpoint to load, found"),
        (None, 6, 2, "expected number 6 or the one before, found 4 in prev.pt"),
    ],
)
def test_what_is_lost_is_named(
    tmp_path: Path, last: bytes | None, written: int, behind: int, said: str
) -> None:
    write(tmp_path, "prev.pt", 4)
    if last is not None:
        (tmp_path / "last.pt").write_bytes(last)
    late, faults = judge_writes(tmp_path, written)
    assert late == behind
    assert len(faults) == 1 and faults[0].startswith(said)


def test_a_mixture_is_named(tmp_path: Path) -> None:
    write(tmp_path, "last.pt", 4, level=3.0)
    assert judge_writes(tmp_path, 4)[1] == ["expected last.pt to be one write's, found a mixture"]


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    late, faults = judge_writes(tmp_path, 7)
    assert late == 7 and "expected one to continue with" in faults[0]


def test_damage_is_of_every_kind_and_always_there() -> None:
    content = bytes(range(256)) * 40
    spoilt = list(itertools.islice(damages(content), 40))
    assert all(after != content for _, after in spoilt)
    said = " ".join(what for what, _ in spoilt)
    assert all(kind in said for kind in ("cut off", "zeroed", "flipped"))
    assert spoilt == list(itertools.islice(damages(content), 40)), "it can be repeated"


def test_damage_that_is_noticed_and_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "prev.pt", 1)
    last = write(tmp_path, "last.pt", 2)
    assert judge_damage(tmp_path) == ["expected the damage to be noticed, found it loaded"]
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 4
    last.write_bytes(content)
    assert judge_damage(tmp_path) == []

    def unverified(path: Path) -> None:
        """As a product without checksums would."""

    monkeypatch.setattr(checkpoint, "_verify", unverified)
    found: Any = judge_damage(tmp_path)
    assert found and "noticed" in found[0]
    monkeypatch.undo()
    (tmp_path / "prev.pt").write_bytes(b"")
    assert "expected prev.pt to be loaded" in judge_damage(tmp_path)[0]
