"""Reads back what W&B wrote down of a run."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.trackers.wandb_service import records


@dataclass
class WandbRun:
    """The content of a `.wandb` file."""

    run: object = None  # W&B's own message
    config: dict[str, object] = field(default_factory=dict)
    history: dict[int, dict[str, object]] = field(default_factory=dict)  # step to values
    steps: list[int] = field(default_factory=list)  # as they were logged
    summary: dict[str, object] = field(default_factory=dict)
    exit_code: int | None = None


def read_run(folder: Path) -> WandbRun:
    """The one run whose file lies in W&B's folder of that run."""
    (file,) = folder.glob("*.wandb")
    found = WandbRun()
    for record in records(file.read_bytes()):
        match record.WhichOneof("record_type"):
            case "run":
                found.run = record.run
                found.config |= _items(record.run.config.update)
            case "config":
                found.config |= _items(record.config.update)
            case "history":
                values = _items(record.history.item)
                found.steps.append(record.history.step.num)
                found.history.setdefault(record.history.step.num, {}).update(values)
            case "summary":
                found.summary |= _items(record.summary.update)
            case "exit":
                found.exit_code = record.exit.exit_code
    return found


def _items(items: Any) -> dict[str, object]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
