"""Mirrors a run to Weights & Biases: online where possible, else into files that can be uploaded later."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lab.config.trackers import WandbConfig
from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.trackers import wandb_service
from lab.trackers.wandb_session import FOLDER, ID, Described, WandbSession

if TYPE_CHECKING:
    import wandb

_GOOD = ("completed", "early_stopped", "pruned")


class WandbTracker:
    """One W&B run a run folder: the values under their own names over `epoch`, pictures, and how it ended.

    Meant for `Background`: `start` may take seconds, and every method may raise. W&B's files lie in the run
    folder. The summary holds `outcome`, `reason`, `value`, `best_epoch`, and `best.<name>` for each value of
    the best epoch.

    Args:
        session: shared with other runs of this process, which then go on when this one ends or fails; an
            epoch that the folder's offline files hold already is not logged again. None: a session of its
            own.
        job_type: W&B's word for what kind of run this is.
        suffix: of the run's id.
    """

    def __init__(
        self,
        config: WandbConfig,
        notify: Callable[[Note], None],
        session: WandbSession | None = None,
        *,
        job_type: str | None = None,
        suffix: str = "",
    ) -> None:
        self._config = config
        self._notify = notify
        self._shared = session is not None
        self._session = session or WandbSession(config, notify)
        self._job_type, self._suffix = job_type, suffix
        self.patience = self._session.patience
        self._run: wandb.Run | None = None
        self._logged: set[int] = set()

    def start(self, event: RunStart) -> None:
        """Begin the W&B run, or go on with it; the session says where it is and how to upload it."""
        described = Described(
            folder=event.run_dir,
            run_id=event.run_id,
            project=event.project,
            name=event.name,
            group=event.group,
            config=event.config,
            job_type=self._job_type,
            suffix=self._suffix,
        )
        known = self._shared and (event.run_dir / FOLDER / ID).exists()
        self._run = run = self._session.begin(described)
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        if known and run.offline:  # a server knows itself what it has
            self._logged = wandb_service.logged_steps(event.run_dir / FOLDER, described.id)

    def epoch(self, event: EpochEnd) -> None:
        """Log the values at step `event.epoch`; the step is always given, for a resumed run counts on."""
        if event.epoch in self._logged:
            return
        if self._shared:
            self._logged.add(event.epoch)
        values = {**event.values, "epoch": event.epoch, "seconds": event.seconds}
        self._opened().log(values, step=event.epoch, commit=self._shared or None)  # else pictures may follow

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Log a picture under its name."""
        if self._config.images:
            import wandb

            self._opened().log({name: wandb.Image(image)}, step=epoch)

    def note(self, event: Note) -> None:
        """W&B has no place for notes."""

    def finish(self, event: RunEnd) -> None:
        """Write the summary and end the W&B run, as failed where the run diverged or broke off."""
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
        if not self._shared:
            self._session.close()

    def abandon(self) -> None:
        """Give W&B up, so that its process can't hold up the end of ours; shared, leave it to the others."""
        if self._shared:
            self._session.stay_offline()
        elif self._session.give_up() and self._run is not None:
            how = self._session.how_to_upload(self._run)
            self._notify(Note(f"W&B has a part of this run; {how}"))

    def _opened(self) -> "wandb.Run":
        if self._run is None:
            raise RuntimeError("the W&B run was given up before it began")
        return self._run
