"""The configs of the inputs: one pass over a small set with fixed weights, for figures by hand."""

from collections.abc import Mapping
from pathlib import Path

from selftest.inputs.base import Files

USERS = Path(__file__).with_name("users.py")
MODULE = "mine"
_STILL: Mapping[str, object] = {
    "batch_size": 8,
    "epochs": 1,
    "threads": 1,
    "device": "cpu",
    "pictures": {"enabled": False},
    "trackers": [],
    "optimizer": {"target": "torch.optim.SGD", "lr": 0.0},
}
COUNT = {"count": f"{MODULE}.Count"}


def config(**sections: object) -> dict[str, object]:
    """A run of one epoch that changes no weight, with these sections."""
    return {"name": "input", **_STILL, **sections}


def written(**sections: object) -> Files:
    """An input that is all in its config."""
    return lambda folder: config(**sections)


def mine(name: str, **arguments: object) -> dict[str, object]:
    """A component of the user's own module."""
    return {"target": f"{MODULE}.{name}", **arguments}
