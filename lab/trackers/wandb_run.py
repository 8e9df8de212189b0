"""Mirrors a run to Weights & Biases: online where possible, else into files that can be uploaded later."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lab.config import wandb_environment as environment
from lab.config.tracker_config import WandbConfig
from lab.events import EpochEnd, Note, RunEnd, RunStart
from lab.store import run_folder
from lab.trackers import wandb_service
from lab.trackers.base import Tracker
from lab.trackers.csv_file import read_metrics
from lab.trackers.wandb_files import FOLDER, ID
from lab.trackers.wandb_session import Described, WandbSession

if TYPE_CHECKING:
    import wandb


class WandbTracker(Tracker):
    """One W&B run a run folder: the values under their own names over `epoch`, pictures, and how it ended.

    Meant for `Background`: `start` may take seconds, and every method may raise. W&B's files lie in the run
    folder. A run that continues has each epoch once: what W&B holds already is not logged again, and what it
    had not written yet when the process was killed is logged from the run's record. The summary holds
    `outcome`, `reason`, `value`, `best_epoch`, and `best.<name>` for each value of the best epoch.

    Args:
        session: shared with other runs of this process, which then continue when this one ends or fails; what
            such a run missed of a trial is handed in by whoever shares it. None: a session of its own.
        job_type: W&B's word for what kind of run this is.
        suffix: of the run's id.
        study: the token of its study.
    """

    def __init__(
        self,
        config: WandbConfig,
        notify: Callable[[Note], None],
        session: WandbSession | None = None,
        *,
        job_type: str | None = None,
        suffix: str = "",
        study: str = "",
    ) -> None:
        self._config = config
        self._notify = notify
        self._shared = session is not None
        self._session = session or WandbSession(config, notify)
        self._job_type, self._suffix, self._study = job_type, suffix, study
        self.patience = self._session.patience
        self._run: wandb.Run | None = None
        self._logged: set[int] = set()
        self._before: frozenset[int] = frozenset()

    def start(self, event: RunStart) -> None:
        """Start the W&B run, or resume it; the session reports its URL and how to upload it."""
        whole = event.run_dir.parent
        repeated = not self._shared and event.group is not None and event.run_dir in run_folder.repeats(whole)
        described = Described(
            folder=event.run_dir,
            run_id=event.run_id,
            project=event.project,
            name=event.name if self._shared else self._config.name or event.name,
            group=event.group,
            config=event.config,
            job_type=self._job_type,
            whole=whole if repeated else None,
            suffix=self._suffix,
            study=self._study,
            wanted_id=None if self._shared else self._wanted_id(event),
        )
        known = described.places.known
        if not self._shared:
            self._name_overruled(described)
        # Safe, since no other process has this run's folder.
        if known:
            wandb_service.drop_empty(described.places.all(), described.id)
        self._run = run = self._session.begin(described)
        # W&B's own step counts calls; all curves are over the epoch instead.
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        # The server knows the step to continue with.
        if known:
            written = wandb_service.logged_steps(described.places.all(), described.id)
            self._before = frozenset(written | set(range(run.starting_step)))
            self._logged = set(self._before)
        if not self._shared:
            for earlier in recorded(event):
                self.epoch(earlier)

    def epoch(self, event: EpochEnd) -> None:
        """Log the values at step `event.epoch`; the step is always given, for a resumed run counts on."""
        if event.epoch in self._logged:
            return
        self._logged.add(event.epoch)
        values = {**event.values, "epoch": event.epoch, "seconds": event.seconds}
        self._opened().log(values, step=event.epoch, commit=self._shared or None)  # else pictures may follow

    def image(self, epoch: int, name: str, image: NDArray[np.uint8]) -> None:
        """Log a picture under its name."""
        if self._config.images and epoch not in self._before:
            import wandb

            self._opened().log({name: wandb.Image(image)}, step=epoch)

    def finish(self, event: RunEnd) -> None:
        """Write the summary and end the W&B run, as failed where the run diverged or broke off."""
        run = self._opened()
        run.summary.update(
            {
                "outcome": str(event.outcome),
                "reason": event.reason,
                "value": event.value,
                "best_epoch": event.best_epoch,
                **{f"best.{name}": value for name, value in event.best.items()},
            }
        )
        run.finish(exit_code=0 if event.outcome.is_success else 1)
        if not self._shared:
            self._session.close()

    def abandon(self) -> None:
        """Give W&B up, so that its process can't hold up the end of ours; shared, leave it to the others."""
        if self._shared:
            self._session.stay_offline()
        elif self._session.give_up() and self._run is not None:
            how = self._session.how_to_upload()
            self._notify(Note(f"W&B has a part of this run; {how}", has_upload_command=True))

    def _wanted_id(self, event: RunStart) -> str | None:
        """The id of the environment, where one run alone can have it."""
        wanted = environment.run_id()
        if wanted is None or (event.run_dir / FOLDER / ID).exists():
            return None
        if event.group is not None:
            why = f"the seeds or folds of {event.group} would be one W&B run"
        elif taken := [
            file
            for file in event.run_dir.parent.glob(f"*/{FOLDER}/{ID}")
            if file.read_text(errors="replace").strip() == wanted
        ]:
            why = f"it is the id of {taken[0].parent.parent.name}"
        else:
            return wanted
        self._notify(Note(f"W&B: {environment.RUN_ID} is not used: {why}; each gets its own id", "warning"))
        return None

    def _name_overruled(self, described: Described) -> None:
        """Name the variables that are set and don't count."""
        known: dict[str, str | None] = {environment.NAME: described.name, environment.RESUME: None}
        known |= {environment.RUN_ID: described.id} if described.places.known else {}
        found = environment.overruled(self._config, described.project, known)
        if found:
            why = "the config or the run's first settings take precedence"
            self._notify(Note(f"W&B: environment variables not used: {', '.join(found)}; {why}"))

    def _opened(self) -> "wandb.Run":
        if self._run is None:
            raise RuntimeError("the W&B run was abandoned before it started")
        return self._run


def recorded(event: RunStart) -> Iterator[EpochEnd]:
    """The epochs that a resumed run won't do again, from its own record: the tracker may have missed some."""
    if not event.resumed:
        return
    nothing = float("nan")
    with suppress(OSError, ValueError):
        for row in read_metrics(event.run_dir):
            epoch, seconds = int(row.pop("epoch")), row.pop("seconds", nothing)
            if epoch < event.first_epoch:
                yield EpochEnd(epoch, event.epochs, row, False, 0, {}, seconds, nothing)
