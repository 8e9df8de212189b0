"""Loss and metrics of a finished run of any task, on what it validates or tests with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab import rundir
from lab.checkpoint import CheckpointError, load, network_state
from lab.config import RunConfig
from lab.data.loaders import create_loader
from lab.data.splits import Splits
from lab.evaluation import evaluate
from lab.runtime import Runtime
from lab.seeding import seed_all
from lab.wording import figure

Split = Literal["val", "test"]


@dataclass(frozen=True)
class Plain:
    """What `evaluate` says of one set: `loss`, and the metrics by name."""

    folder: Path
    split: Split
    values: Mapping[str, float]

    def as_text(self) -> str:
        """A line a figure."""
        width = max(map(len, self.values))
        lines = [f"{name:<{width}}  {figure(value)}" for name, value in self.values.items()]
        return "\n".join([f"{self.folder.name}, {self.split} set", *lines])


def plain_figures(folder: Path | str, split: Split | None = None, *, device: str | None = None) -> Plain:
    """Judge a run's best weights as its validation did; for tasks that have no evaluation of their own.

    Args:
        folder: of a single run: a seed or fold of several has its own.
        split: by default `test` where there is one, else `val`.
        device: other than the config says.

    Raises:
        CheckpointError: there are no weights, or they don't fit the network.
        ConfigError: the config can't be read, or something in it can't be built.
        ValueError: there is no such set, or the folder is no single run.
    """
    folder = Path(folder)
    below = [] if (folder / rundir.CHECKPOINTS).is_dir() else rundir.repeats(folder)
    if below or not (folder / rundir.CONFIG).is_file():
        named = f"; name one of those below: {', '.join(path.name for path in below)}" if below else ""
        raise ValueError(f"{folder}: is no single run{named}")
    config = RunConfig.from_yaml(folder / rundir.CONFIG)
    config = config.with_values({"compile": False, **({} if device is None else {"device": device})})
    content = load(folder / rundir.CHECKPOINTS / "best.pt")
    seed_all(config.seeds[0])  # as the run did before it made its data
    splits = Splits(*config.create_data())
    split = split or ("val" if splits.test is None else "test")
    dataset = getattr(splits, split)
    if dataset is None:
        raise ValueError(f"{folder}: its data has no {split} set")
    runtime = Runtime.from_config(config)
    model = config.create_model(content.get("data") or {})
    try:
        model.load_state_dict(network_state(content))
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: the weights don't fit the network of its config: {error}"
        ) from error
    task = config.create_task()
    values = evaluate(
        runtime.place(model),
        create_loader(dataset, config.batch_size, shuffle=False, device=runtime.device),
        task=task,
        criterion=runtime.place(config.create_criterion()),
        runtime=runtime,
        metrics={name: runtime.place(metric) for name, metric in config.create_metrics().items()},
    )
    return Plain(folder, split, values)
