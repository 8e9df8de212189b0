"""A run that is cut at any point, with any of its features, and resumed equals one that wasn't."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.config import import_policy
from tests.continuing import DATA, STATEFUL, differences, interrupted, tiny, whole

PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau"
SCHEDULES: list[Any] = [
    None,
    {
        "target": "torch.optim.lr_scheduler.OneCycleLR",
        "max_lr": 0.02,
        "total_steps": "auto",
        "cycle_momentum": False,
        "interval": "step",
    },
    {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto"},
    {"target": PLATEAU, "patience": 0},
]


@st.composite
def features(draw: st.DrawFn) -> dict[str, Any]:
    """The values of a config, each feature on or off."""
    kind = draw(st.sampled_from(["memory", "noisy", "scheduled", "stream", "own", "waiting"]))
    resumable = kind in ("memory", "noisy", "stream")  # where a worker reads it, too
    learns = draw(st.booleans())
    modes = draw(st.booleans())
    schedule = draw(st.sampled_from(SCHEDULES))
    return {
        "data": {"target": DATA, "kind": kind},
        "net": draw(st.sampled_from(["selftest.faulty_parts.Forgetful", f"{STATEFUL}.PartlyFrozen"])),
        "criterion": draw(
            st.sampled_from(["torch.nn.MSELoss", {"target": f"{STATEFUL}.Remembering", "learns": learns}])
        ),
        "optimizer": {"target": f"{STATEFUL}.TwoModes" if modes else "torch.optim.AdamW", "lr": 0.01},
        "metrics": {"mae": "lab.metrics.MAE", "smooth": f"{STATEFUL}.Smoothed"}
        if draw(st.booleans())
        else {},
        "scheduler": schedule,
        "ema": {"decay": 0.9} if draw(st.booleans()) and not modes else None,
        "accumulate_grad_batches": draw(st.sampled_from([1, 2])),
        "gradient_clip_norm": draw(st.sampled_from([None, 0.5])),
        "early_stopping_config": {"patience": draw(st.sampled_from([1, 5]))} if draw(st.booleans()) else None,
        "loader": {"workers": draw(st.sampled_from([0, 0, 0, 1])) if resumable else 0},
        "checkpoint": {"every_n_steps": draw(st.sampled_from([None, 1, 2]))},
        "seeds": draw(st.integers(0, 3)),
    }


PLACES = st.tuples(st.integers(1, 3), st.integers(0, 3))


def check(values: dict[str, Any], at: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv(import_policy.VARIABLE, "selftest,tests")
        config = tiny(**values)
        whole(Path(place, "whole"), config)
        notes = interrupted(Path(place, "cut"), config, at)
        assert differences(Path(place, "whole"), Path(place, "cut")) == []
        assert not [note for note in notes if "is reset" in note or "won't resume" in note]


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(features(), PLACES)
def test_resumed_equals_uninterrupted(values: dict[str, Any], at: tuple[int, int]) -> None:
    check(values, at)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # 400 trainings, each three times, take minutes on a busy machine
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(features(), PLACES)
def test_resumed_equals_uninterrupted_in_many_ways(values: dict[str, Any], at: tuple[int, int]) -> None:
    check(values, at)
