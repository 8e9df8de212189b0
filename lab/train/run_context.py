"""The options of a call of `run`, for its folder and for the seeds or folds in folders below."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.config import ConfigError, Problem, RunConfig, config_file, wandb_environment
from lab.events import Callback
from lab.provenance.code_record import Code
from lab.store import paths, run_folder
from lab.train.callbacks.progress_bar import Style


@dataclass(frozen=True)
class RunContext:
    """The options with which `run` was called, for one run folder.

    Args:
        group: the folder name of the whole run, where this is one of several seeds.
        source: the config's YAML as its author wrote it; empty where there is none.
        code: the record of the code, shared by all seeds and folds of the run.
    """

    folder: Path
    resume: bool = False
    callbacks: Sequence[Callback] = ()
    console: Style = "auto"
    command: Sequence[str] = ()
    group: str | None = None
    source: str = ""
    code: Code = field(default_factory=Code)

    def per_repeat(self, config: RunConfig) -> Iterator[tuple[RunConfig, "RunContext"]]:
        """Yield a config and a context for each seed or fold, all with the same current folder."""
        for name, values in config.repeats.items():
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            with paths.anchored():
                yield config.with_values(values), replace(self, folder=folder, group=self.folder.name)

    def settled(self, config: RunConfig) -> RunConfig:
        """Add the environment's W&B settings to the config; a resumed run keeps its first ones.

        Raises:
            ConfigError: the run to resume is of another kind, or W&B doesn't accept a variable's value.
        """
        self._refuse_other_repeats(config)
        recorded: dict[str, Any] = {}
        with suppress(ConfigError):  # the record can't be read; the config then comes from another file
            recorded = config_file.read(self.folder / run_folder.CONFIG).data if self.resume else {}
        return wandb_environment.settled(config, recorded)

    def _refuse_other_repeats(self, config: RunConfig) -> None:
        """Refuse to resume a run of one seed as one of several seeds or of folds, or the other way round.

        Raises:
            ConfigError: the run to resume is of another kind.
        """
        folds = config.folds is not None
        now = "folds" if folds else "several seeds" if len(config.seeds) > 1 else "one seed"
        below = {path.name.partition("_")[0] for path in run_folder.repeats(self.folder)}
        was = "several seeds" if "seed" in below else "folds" if below else "one seed"
        if (self.folder / run_folder.CHECKPOINTS).is_dir():
            was = "one seed"
        elif not below:
            return
        if self.resume and was != now:
            field = "folds" if folds or was == "folds" else "seeds"
            place = paths.shown(self.folder)
            message = f"the run in {place} has {was}; start a new run, or restore the former {field}"
            raise ConfigError([Problem((field,), message)])
