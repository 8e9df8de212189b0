"""W&B's runs in one process: they share its helper process, and whether they are online."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from lab.config import wandb_environment as environment
from lab.config.tracker_config import WandbConfig
from lab.console import shell_commands
from lab.console.formatting import first_line
from lab.events import Note
from lab.store.redact import command_line_has_secret
from lab.trackers import wandb_service
from lab.trackers.background_tracker import no_fork
from lab.trackers.wandb_files import FOLDER, Places, find_commands, patterns

if TYPE_CHECKING:
    import wandb

Mode = Literal["online", "offline"]
_PROBE_SECONDS = 2.0
_INIT_SECONDS = 30.0  # nobody waits for it: training continues meanwhile
_FINISH_SECONDS = 30.0  # of one run among several; nobody waits for it either


@dataclass(frozen=True)
class Described:
    """The description of a run for W&B.

    Args:
        folder: of the run.
        group: of its W&B run, unless the config has one.
        whole: the folder of the whole run, where this is one of several seeds or folds.
        suffix: of the id, for a run that goes by the side of the folder's first one.
        study: the token of its study, by which W&B's files of the study's runs are found.
        wanted_id: the id that it is to have, where it has none yet.
    """

    folder: Path
    run_id: str
    project: str
    name: str
    group: str | None
    config: Mapping[str, object]
    job_type: str | None = None
    whole: Path | None = None
    suffix: str = ""
    study: str = ""
    wanted_id: str | None = None

    @property
    def places(self) -> Places:
        """The places of W&B's files of it."""
        return Places(self.folder)

    @property
    def id(self) -> str:
        """The id under which W&B knows this folder."""
        return self.places.id(self.run_id, self.study, self.wanted_id) + self.suffix


class WandbSession:
    """Begins W&B runs, online where possible; for one run, or for all those of a study.

    A study's runs come and go, each in a thread of its own. The first decides whether they are online; when
    one of them fails to connect, later ones are offline. The place of the runs is reported once.

    Args:
        token: in the ids of the study's runs.
        study: the folder of a study. Its runs are mirrored from another process than that which trains:
            W&B's figures of this process, and the list of its packages, are left out. That list is most of
            what a short run costs.
    """

    def __init__(
        self,
        config: WandbConfig,
        notify: Callable[[Note], None],
        study: Path | None = None,
        token: str = "",
    ) -> None:
        self._config, self._notify, self._study, self._token = config, notify, study, token
        self.patience = max(config.timeout / 2, config.timeout - 1)  # the rest is for ending it by force
        self._deciding = Lock()
        self._mode: Mode | None = None
        self._prepared = self._was_online = False
        self._run: Described | None = None
        self._over = False

    def begin(self, run: Described) -> "wandb.Run":
        """Start a W&B run, or resume it, and report its place; may take many seconds.

        Raises:
            Exception: whatever W&B raises; RuntimeError where it was given up meanwhile.
        """
        folder = run.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        with self._deciding:
            self._check()
            self._run = run
            run.id  # noqa: B018 - made here, by one thread at a time
            if not self._prepared:
                self._prepare(run.folder if self._study is None else self._study)
            # The first run decides for all: a second probe of a dead server would cost seconds each time.
            if self._mode is None:
                return self._first(run)
            wandb_service.forget_dead()
            if self._mode == "online" and (why := self._why_unreachable()):
                self._mode = "offline"
                self._report_offline(Note(why, level="warning"))
            mode = self._mode
        return self._init(run, mode)

    def stay_offline(self) -> None:
        """There was trouble: runs that begin from now on don't try to be online."""
        self._mode = "offline"

    def close(self) -> None:
        """End W&B's process in order, once all runs are finished; takes a second at most."""
        if self._prepared and not self._over:
            import wandb

            self._over = True
            # Here the time is bounded; at the end of the interpreter it isn't.
            wandb.teardown()

    def give_up(self) -> bool:
        """End W&B's process by force, so that it can't hold up the end of ours; True the first time."""
        if self._over:
            return False
        self._over = True
        wandb_service.kill()
        return True

    def how_to_upload(self) -> str:
        """The command that uploads all parts of a run later, or the runs of a study; what was online, too."""
        sync = shell_commands.tool("wandb", "sync", *(["--include-online"] if self._was_online else []))
        if self._study is not None:
            found = find_commands(self._study, self._token, sync, self._was_online)
            return f"to upload: {'; '.join(found)}"
        assert self._run is not None
        several = self._run.whole is not None
        names = patterns(self._run.whole or self._run.folder, several, self._was_online)
        return f"to upload: {sync} {' '.join(names)}"

    def _prepare(self, folder: Path) -> None:
        staging = folder / FOLDER
        staging.mkdir(parents=True, exist_ok=True)
        wandb_service.keep_quiet(staging)
        if wrong := Places(folder).choose()[1]:
            self._notify(Note(f"{wrong}; W&B's files are in the run's folder", "warning"))
        with no_fork:  # 1 s, and only W&B needs it
            import PIL.Image
            import wandb  # noqa: F401 - the import is all that is wanted

            # Otherwise the first image imports its format's module.
            PIL.Image.preinit()
        self._prepared = True

    def _first(self, run: Described) -> "wandb.Run":
        """Find out whether W&B can be online, by beginning this run."""
        import wandb

        offline = self._why_offline()
        self._check()
        if offline is None:
            try:
                begun = self._init(run, "online")
            except wandb.Error as error:
                # It would keep trying, and hold the run's id.
                wandb_service.kill()
                offline = Note(f"connecting failed: {first_line(error)}", level="warning")
                self._check()
            else:
                self._mode, self._was_online = "online", True
                self._notify(Note(f"W&B: online at {self._place(begun)}"))
                return begun
        self._mode = "offline"
        begun = self._init(run, "offline")
        self._report_offline(offline)
        return begun

    def _place(self, run: "wandb.Run") -> str | None:
        if self._study is None or run.group is None:
            return run.url
        return f"{run.project_url}/groups/{quote(run.group, safe='')}"

    def _report_offline(self, why: Note) -> None:
        message = f"W&B: offline, {why.message}; {self.how_to_upload()}"
        self._notify(replace(why, message=message, has_upload_command=True))

    def _why_offline(self) -> Note | None:
        """Return the reason to be offline, if any; a warning where the user may expect the runs online."""
        mode = environment.mode_of(self._config)
        if mode == "offline":
            return Note(f"set by {environment.mode_reason(self._config)}")
        import wandb

        try:
            if not wandb_service.has_key(wandb_service.start().base_url):
                login = shell_commands.tool("wandb", "login")
                message = f"no key is configured ({login})"
                return Note(message, level="warning" if mode == "online" else "info")
        except wandb.errors.AuthenticationError as error:
            return Note(f"the configured key is not usable ({first_line(error)})", level="warning")
        why = self._why_unreachable()
        return Note(why, level="warning") if why else None

    def _why_unreachable(self) -> str:
        # Probe it ourselves: W&B would retry until its own timeout.
        host = wandb_service.start().base_url
        why = wandb_service.why_unreachable(host, min(_PROBE_SECONDS, self.patience / 2))
        return f"{host} can't be reached ({why})" if why else ""

    def _init(self, run: Described, mode: Mode) -> "wandb.Run":
        import wandb

        settings = {
            "silent": True,
            "console": "off",
            "init_timeout": _INIT_SECONDS,
            "finish_timeout": 0.8 * self.patience if self._study is None else _FINISH_SECONDS,
            "finish_timeout_raises": True,
            "disable_code": True,
            "x_disable_meta": command_line_has_secret(),  # W&B takes the command line as it is
            **wandb_service.FLUSH_OFTEN,
            **({} if self._study is None else wandb_service.ONLY_NUMBERS),
        }
        wandb_service.start()
        return wandb.init(
            entity=self._config.entity,
            project=run.project,
            name=run.name,
            group=self._config.group or run.group,
            job_type=run.job_type or self._config.job_type,
            tags=self._config.tags,
            notes=self._config.notes,
            config=dict(run.config),
            dir=run.places.choose()[0],
            id=run.id,
            resume="allow",
            reinit="create_new",
            mode=mode,
            settings=wandb.Settings(**settings),
        )

    def _check(self) -> None:
        if self._over:
            raise RuntimeError("W&B was abandoned before the run started")
