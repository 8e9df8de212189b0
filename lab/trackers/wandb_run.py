"""Mirrors a run to Weights & Biases: online where possible, else into files that can be uploaded later."""

import os
from collections.abc import Callable
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lab import rundir
from lab.config.trackers import WandbConfig
from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.redact import command_line_has_secret
from lab.trackers import wandb_service
from lab.trackers.no_fork import no_fork

if TYPE_CHECKING:
    import wandb

FOLDER = "wandb"
_ID = "run_id.txt"
Level = Literal["info", "warning"]
_PROBE_SECONDS = 2.0
_INIT_SECONDS = 30.0  # nobody waits for it: training goes on meanwhile
_GOOD = ("completed", "early_stopped", "pruned")


class WandbTracker:
    """One W&B run a run folder: the values under their own names over `epoch`, pictures, and how it ended.

    Meant for `Background`: `start` may take seconds, and every method may raise. W&B's files lie in the run
    folder. The summary holds `outcome`, `reason`, `best_epoch`, and `best.<name>` for each value of the
    best epoch.
    """

    def __init__(self, config: WandbConfig, notify: Callable[[Note], None]) -> None:
        self._config = config
        self._notify = notify
        self.patience = max(config.timeout / 2, config.timeout - 1)  # the rest is for ending it by force
        self._run: wandb.Run | None = None
        self._abandoned = False

    def start(self, event: RunStart) -> None:
        """Begin the W&B run, or go on with it; say where it is and how to upload it."""
        folder = event.run_dir / FOLDER
        folder.mkdir(exist_ok=True)
        wandb_service.keep_quiet(folder)
        with no_fork():  # 1 s, and only this tracker needs it
            import PIL.Image
            import wandb

            PIL.Image.preinit()  # else the first picture imports its format's module
        offline = self._why_offline()
        if self._abandoned:
            return
        if offline is None:
            try:
                self._run = self._init(event, "online")
            except wandb.Error as error:
                wandb_service.kill()  # it would go on trying, and hold the run's id
                offline = Note(f"going online failed: {_first_line(error)}", level="warning")
                if self._abandoned:
                    return
        if offline is not None:
            self._run = self._init(event, "offline")
            self._notify(replace(offline, message=f"W&B: offline, {offline.message}; {self._how_to_sync()}"))
        else:
            self._notify(Note(f"W&B: online at {self._opened().url}"))

    def epoch(self, event: EpochEnd) -> None:
        """Log the values at step `event.epoch`; the step is always given, for a resumed run counts on."""
        run = self._opened()
        run.log({**event.values, "epoch": event.epoch, "seconds": event.seconds}, step=event.epoch)

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Log a picture under its name."""
        if self._config.images:
            import wandb

            self._opened().log({name: wandb.Image(image)}, step=epoch)

    def note(self, event: Note) -> None:
        """W&B has no place for notes."""

    def finish(self, event: RunEnd) -> None:
        """Write the summary and end the W&B run, as failed where the run diverged or broke off."""
        import wandb

        run = self._opened()
        run.summary.update(
            {
                "outcome": event.outcome,
                "reason": event.reason,
                "value": event.value,
                "best_epoch": event.best_epoch,
                **{f"best.{name}": value for name, value in event.best.items()},
            }
        )
        run.finish(exit_code=0 if event.outcome in _GOOD else 1)
        wandb.teardown()  # here, where the time is bounded, and not at the end of the interpreter

    def abandon(self) -> None:
        """Give W&B up, so that its process can't hold up the end of ours."""
        self._abandoned = True
        wandb_service.kill()
        if self._run is not None:
            self._notify(Note(f"W&B has a part of this run; {self._how_to_sync()}"))

    def _why_offline(self) -> Note | None:
        """Why the run can't or shouldn't be online; a warning where the user may expect that it is."""
        mode = self._config.mode
        if mode == "offline":
            return Note("as the config says")
        if mode == "auto" and os.environ.get("WANDB_MODE") in ("offline", "dryrun"):
            return Note("as WANDB_MODE says")
        import wandb

        host = wandb_service.start().base_url
        try:
            if not wandb_service.has_key(host):
                level: Level = "warning" if mode == "online" else "info"
                return Note("no key is configured (wandb login)", level=level)
        except wandb.errors.AuthenticationError as error:
            return Note(f"the configured key is of no use ({_first_line(error)})", level="warning")
        why = wandb_service.why_unreachable(host, min(_PROBE_SECONDS, self.patience / 2))
        return Note(f"{host} can't be reached ({why})", level="warning") if why else None

    def _init(self, event: RunStart, mode: Literal["online", "offline"]) -> "wandb.Run":
        import wandb

        settings = {
            "silent": True,
            "console": "off",
            "init_timeout": _INIT_SECONDS,
            "finish_timeout": 0.8 * self.patience,
            "finish_timeout_raises": True,
            "disable_code": True,
            "x_disable_meta": command_line_has_secret(),  # W&B takes the command line as it is
            **wandb_service.flush_often(wandb.Settings.model_fields),
        }
        wandb_service.start()
        run = wandb.init(
            entity=self._config.entity,
            project=event.project,
            name=event.name,
            group=self._config.group or event.group,
            tags=self._config.tags,
            config=dict(event.config),
            dir=event.run_dir,
            id=_stable_id(event),
            resume="allow",
            reinit="create_new",
            mode=mode,
            settings=wandb.Settings(**settings),
        )
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        return run

    def _opened(self) -> "wandb.Run":
        if self._run is None:
            raise RuntimeError("the W&B run was given up before it began")
        return self._run

    def _how_to_sync(self) -> str:
        assert self._run is not None
        return f"to upload: wandb sync {self._run.settings.sync_dir}"


def _stable_id(event: RunStart) -> str:
    """The id under which W&B knows this folder; made once and kept in the folder, so a resumed run finds it.

    The folder's name alone won't do: the trials of two studies have the same names.
    """
    file = event.run_dir / FOLDER / _ID
    if not file.exists():
        rundir.atomic_write(file, f"{rundir.slug(event.run_id)[-50:].strip('.-')}-{token_hex(4)}\n")
    return file.read_text().strip()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
