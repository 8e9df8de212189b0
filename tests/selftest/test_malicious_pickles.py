"""Hostile files are armed: a loader without care executes them; ours says of each what is wrong."""

import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from lab import checkpoint
from lab.data.unpickling import load_plain
from selftest import malicious_pickles

# Torch refuses these whatever it is told.
UNARMED = {"files that lead out, and a second pickle", "a compiled program"}


@pytest.fixture
def true(tmp_path: Path) -> malicious_pickles.Entries:
    path = tmp_path / "true.pt"
    checkpoint.save(path, {"model": {"weight": torch.ones(3)}})
    assert malicious_pickles.sealed(path.read_bytes()[:-71]) == path.read_bytes()
    return malicious_pickles.Entries.read(path.read_bytes())


@pytest.mark.parametrize("name", malicious_pickles.CHECKPOINTS)
def test_checkpoints_are_armed_and_refused(
    name: str, true: malicious_pickles.Entries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)  # as main.py has set it
    path, marker = tmp_path / "evil.pt", tmp_path / "executed"
    path.write_bytes(malicious_pickles.sealed(malicious_pickles.CHECKPOINTS[name](true, f"touch {marker}")))
    with pytest.raises(checkpoint.CheckpointError) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(path)
    said = str(caught.value)
    assert "checksum" not in said and "\n" not in said and len(said) < 300 + len(str(path))
    assert "will likely succeed" not in said and "allowlist" not in said
    assert not marker.exists()
    if name in UNARMED:
        return
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(Exception, match=r"."):  # whoever asks
        torch.load(path, weights_only=False)
    assert not marker.exists()
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    try:
        torch.load(path, weights_only=False)
    except Exception as error:  # noqa: BLE001 - it has done its work by then
        print(error)
    deadline = time.monotonic() + 10
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert marker.exists()


def test_what_torch_refuses_is_told_without_its_advice(
    true: malicious_pickles.Entries, tmp_path: Path
) -> None:
    path = tmp_path / "evil.pt"
    path.write_bytes(malicious_pickles.sealed(malicious_pickles.CHECKPOINTS["builtins.eval"](true, "true")))
    with pytest.raises(checkpoint.CheckpointError) as caught:
        checkpoint.load(path)
    assert str(caught.value) == (
        f"{path}: is not a checkpoint of plain data: Unsupported global: GLOBAL eval was not an allowed "
        "global by default."
    )


def test_arrays_of_objects_are_armed(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.npy", tmp_path / "executed"
    path.write_bytes(malicious_pickles.array_of_objects(f"touch {marker}"))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        np.load(path)
    assert not marker.exists()
    np.load(path, allow_pickle=True)
    assert marker.exists()


def test_pickles_of_data_sets_are_refused_by_name(tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pkl", tmp_path / "executed"
    path.write_bytes(malicious_pickles.calling("os", "system", f"touch {marker}"))
    with pytest.raises(ValueError, match=r"evil\.pkl: holds os\.system"):
        load_plain(path)
    assert not marker.exists()
