"""Going on with a run: load the newest good checkpoint, and refuse one that belongs to another network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import checkpoint
from lab.config import ConfigError, Problem
from lab.config.diff import differences
from lab.events import Note

# With another one of these the checkpoint's state would be loaded into something it doesn't fit.
_SAME = ("task", "net", "optimizer", "scheduler", "ema", "seeds")
_HINT = "start a new run for it, or leave it as it was"


def resume_from(
    folder: Path, config: Mapping[str, Any], parts: Mapping[str, checkpoint.Stateful | None]
) -> list[Note]:
    """Load the newest checkpoint in `folder` into the parts.

    Returns:
        What the user should know: a damaged checkpoint that was passed over, settings that changed.

    Raises:
        ConfigError: the checkpoint belongs to another network, optimizer, scheduler or seed.
        CheckpointError: there are checkpoints, and none can be read.
    """
    if not any((folder / name).exists() for name in ("last.pt", "prev.pt")):
        return [Note("there is no checkpoint yet; beginning at the first epoch")]
    content, path, faults = checkpoint.load_latest(folder)
    changed = differences(content["config"], config)
    refused = [
        Problem(
            tuple(name.split(".")),
            f"the checkpoint in {path.parent} has {old!r}, the config has {new!r}; {_HINT}",
        )
        for name, old, new in changed
        if name.split(".")[0] in _SAME
    ]
    if refused:
        raise ConfigError(refused)
    checkpoint.restore(parts, content)
    return [
        *(Note(f"passed over a damaged checkpoint: {fault}", "warning") for fault in faults),
        *(Note(f"changed since the checkpoint: {name}: {old!r} -> {new!r}") for name, old, new in changed),
    ]
