"""The call of `run` for one run folder: its options, and the seeds or folds in folders below."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.config import ConfigError, Problem, RunConfig, config_file, wandb_environment
from lab.events import Callback
from lab.provenance.code_record import Code
from lab.store import run_folder


@dataclass(frozen=True)
class RunContext:
    """The options with which `run` was called, for one run folder.

    Args:
        group: the folder name of the whole run, where this is one of several seeds.
        source: the config's YAML as its author wrote it; empty where there is none.
        code: what all seeds and folds of the run use, for they use the same.
    """

    folder: Path
    resume: bool = False
    callbacks: Sequence[Callback] = ()
    console: Any = "auto"
    command: Sequence[str] = ()
    group: str | None = None
    source: str = ""
    code: Code = field(default_factory=Code)

    def per_repeat(self, config: RunConfig) -> Iterator[tuple[RunConfig, "RunContext"]]:
        """Yield a config and a context of its own for each seed or fold, in a folder below."""
        for name, values in config.repeats.items():
            folder = self.folder / name
            folder.mkdir(exist_ok=True)
            yield config.with_values(values), replace(self, folder=folder, group=self.folder.name)

    def settled(self, config: RunConfig) -> RunConfig:
        """The run's config, with what the environment sets for W&B; of a resumed run, with what it set first.

        Raises:
            ConfigError: the run to resume is of another kind, or a variable holds what W&B doesn't know.
        """
        self._refuse_other_repeats(config)
        recorded: dict[str, Any] = {}
        with suppress(ConfigError):  # a record that can't be read; the config is then given by another file
            recorded = config_file.read(self.folder / run_folder.CONFIG).data if self.resume else {}
        return wandb_environment.settled(config, recorded)

    def _refuse_other_repeats(self, config: RunConfig) -> None:
        """A single run lives in its folder, several seeds or folds in folders below: none becomes another.

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
            message = f"the run in {self.folder} has {was}; start a new run, or leave {field} as they were"
            raise ConfigError([Problem((field,), message)])
