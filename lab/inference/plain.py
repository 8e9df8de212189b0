"""Loss and metrics of a finished run of any task, on what it validates or tests with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.data.loaders import create_loader
from lab.evaluation import evaluate
from lab.inference.held_out import Split, absent, usual_split
from lab.inference.loaded import load


@dataclass(frozen=True)
class Plain:
    """What `evaluate` says of one set: `loss`, and the metrics by name. `lab.report.plain` writes it down."""

    folder: Path
    split: Split
    values: Mapping[str, float]
    notes: tuple[str, ...] = ()


def evaluate_run(
    folder: Path | str,
    split: Split | None = None,
    *,
    device: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> Plain:
    """Judge a run's best weights as its validation did; for tasks that have no evaluation of their own.

    Args:
        folder: of a single run: a seed or fold of several has its own.
        split: by default `test` where there is one, else `val`.
        device: other than the config says.
        data: where the run's data lies now, by path, such as `{"data.root": "elsewhere"}`.

    Raises:
        CheckpointError: there are no weights, or they don't fit the network.
        ConfigError: the config can't be read, or something in it can't be built.
        ValueError: there is no such set, or the folder is no single run.
    """
    loaded = load(folder, device=device, data=data)
    config, runtime = loaded.config, loaded.runtime
    splits = loaded.create_splits()
    split = split or usual_split(splits)
    dataset = getattr(splits, split)
    if dataset is None:
        raise absent(loaded, split, "set")
    criterion, notes = loaded.create_criterion()
    values = evaluate(
        loaded.model,
        create_loader(dataset, config.batch_size, shuffle=False, device=runtime.device),
        task=loaded.task,
        criterion=criterion,
        runtime=runtime,
        metrics={name: runtime.place(metric) for name, metric in config.create_metrics(loaded.facts).items()},
    )
    return Plain(loaded.folder, split, values, (*loaded.notes, *notes))
