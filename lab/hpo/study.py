"""`--optimize`: a study from its file to its winner."""

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.config.import_target import notes_on_moved
from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import did_you_mean
from lab.config.saved_config import written
from lab.console import shell_commands
from lab.console.formatting import format_number
from lab.console.signals import Signals
from lab.events import RUNNING, WAITING, Outcome, Stopped
from lab.hpo import forkserver
from lab.hpo.best_trial import BEST, BestTrial, keep_best
from lab.hpo.console import ConsoleCallback, StudyConsole
from lab.hpo.executor import create_executor
from lab.hpo.open_study import fork_study, open_study, refuse_lost, renamed, settled
from lab.hpo.reevaluate import reevaluate
from lab.hpo.retention import Retention
from lab.hpo.scheduler import TrialScheduler
from lab.hpo.storage import Database, StorageError, database_file, shown_url, without_folder, without_hidden
from lab.hpo.study_callbacks import StudyCallbackList, TrialRecord
from lab.hpo.study_id import STUDY, is_foreign, missing_folders_note
from lab.hpo.trial_folder import read_trial
from lab.hpo.trial_queue import TrialQueue
from lab.hpo.wandb_sync import TensorBoardHParams, WandbSync
from lab.hpo.worker_main import Run
from lab.provenance.code_record import notes_on
from lab.provenance.user_modules import import_paths
from lab.report import study as report
from lab.report.trial_attributes import TrialAttributes
from lab.report.trial_ranking import ranked
from lab.store import file_io, paths, run_folder
from lab.store.error_text import kind_and_text
from lab.store.redact import redact_arguments
from lab.train.callbacks.progress_bar import Style


@dataclass(frozen=True)
class StudyResult:
    """The result of a study.

    Args:
        reason: why it stopped before its end; empty where it didn't.
        failed: whether the user has to act before it can continue.
        best: the best trial, or None where none finished well.
        outcomes: how many trials ended how.
        done: whether there is nothing left to do.
    """

    folder: Path
    reason: str
    failed: bool
    best: FrozenTrial | None
    outcomes: Mapping[str, int]
    done: bool = True


def optimize(
    config: OptimizeConfig,
    run: Run,
    *,
    root: Path = Path("studies"),
    console: Style = "auto",
    command: Sequence[str] = (),
    fork: str | None = None,
) -> StudyResult:
    """Search until there are `n_trials` in all, continuing what is there already.

    Args:
        run: `util.run`.
        root: the studies' folder.
        fork: begin a study of this name with what still fits of the file's study.

    Raises:
        ConfigError: the file has changed so that the study can't continue with it.
        StorageError: the database can't be used.
        Stopped: by a signal; the same command continues.
    """
    # Whole paths: a component may change the current folder.
    with Signals() as signals, paths.anchored():
        return _opened(config, run, paths.absolute(root), StudyConsole(console), fork).search(
            run, signals, command
        )


def _opened(
    config: OptimizeConfig, run: Run, root: Path, out: StudyConsole, fork: str | None
) -> "_OpenStudy":
    if config.isolation == "process":
        forkserver.warm_up(config.base, run.__module__)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    source = config.study_name
    if fork is not None:
        refuse_lost(root / source, config)
        config = renamed(config, fork)
    folder = root / config.study_name
    file_io.refuse_links(folder, depth=2)  # trials are cleared, locked and written there
    refuse_lost(folder, config)
    database = Database(config.storage)
    config = settled(config, database)
    study = (
        open_study(config, database, folder)
        if fork is None
        else fork_study(config, source, database, out.note, folder)
    )
    _write_file(folder, config)
    return _OpenStudy(config, study, database, folder, out)


def _write_file(folder: Path, config: OptimizeConfig) -> None:
    """The study's file as it is now, without secrets, such as the database's password."""
    file_io.atomic_write(folder / STUDY, written(config.as_data()))


@dataclass(frozen=True)
class _OpenStudy:
    """A study in its database and its folder, and the console that it is shown on."""

    config: OptimizeConfig
    study: optuna.Study
    database: Database
    folder: Path
    out: StudyConsole

    @property
    def metrics(self) -> list[str]:
        """The objectives."""
        return [monitor.metric for monitor in self.config.monitors]

    def search(self, run: Run, signals: Signals, command: Sequence[str]) -> StudyResult:
        """Search to the end, and show the result."""
        config, study, folder, out = self.config, self.study, self.folder, self.out
        callbacks = self._callbacks()
        self._begin()
        for note in self._notes():
            out.note(note)
        executor = partial(create_executor, config, run, signals=signals)
        try:
            queue = TrialQueue(
                config, study, self.database, folder, on_message=out.note, check=signals.raise_received
            )
            scheduler = TrialScheduler(
                config, study, queue, executor, callbacks=callbacks, signals=signals, command=command
            )
            try:
                stop = scheduler.optimize()
                done = stop is None or stop.outcome is Outcome.COMPLETED
                if done and config.confirm is not None:
                    reevaluate(config, study, queue.trials(), folder, executor, out, signals)
            except Stopped as signal:
                self._left(signal, redact_arguments(command))
                raise
            best = self._winner(queue.trials())
            callbacks.on_study_end(study, best)
        finally:
            callbacks.close()
            self.database.checkpoint()
        page, result = self._report(), self._result(best, stop)
        self._end(result, page)
        return result

    def _callbacks(self) -> StudyCallbackList:
        """Return the callbacks: records first, for `best/` is made from them, the console last."""
        config, folder = self.config, self.folder
        return StudyCallbackList(
            [
                TrialRecord(config.study_name),
                TensorBoardHParams(self.metrics),
                WandbSync(config, folder, self.out.note),
                BestTrial(folder, self.metrics),
                Retention(folder, config.retention, self.study.directions),
                ConsoleCallback(config, self.study, self.out),
            ]
        )

    def _notes(self) -> Iterator[str]:
        trials, url = self.study.get_trials(deepcopy=False), shown_url(self.config.storage)
        if note := missing_folders_note(self.folder, trials, url):
            yield note
        paths = set(import_paths(self.config.as_data()))
        yield from notes_on_moved(sorted(paths))
        yield from (lacking.message for lacking in notes_on(paths))  # a trial's are in its own console.log

    def _left(self, signal: Stopped, command: Sequence[str]) -> None:
        """Show what there is after a signal, which ends the study whatever goes wrong with that.

        The page is not written: whoever sends a signal waits for the end, and kills what takes too long.
        """
        try:
            best = self._winner(self.study.get_trials(deepcopy=False))
            self._end(self._result(best, signal), None, command)
        except Exception as error:  # noqa: BLE001 - such as a database that is away
            self.out.note(f"the study's end can't be shown: {kind_and_text(error)}")

    def _result(self, best: FrozenTrial | None, stop: Stopped | None) -> StudyResult:
        failed = best is None or (stop is not None and stop.outcome is Outcome.FAILED)
        done = stop is None or stop.outcome is Outcome.COMPLETED
        reason = stop.reason if stop else ""
        return StudyResult(self.folder, reason, failed, best, _outcomes(self.study), done)

    def _winner(self, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """Return the best trial, which `best/` becomes; a disk that is full ends no study."""
        best = ranked(trials, self.study.directions)
        if not best:
            return None
        try:
            keep_best(self.folder, best[0], self.metrics)
        except OSError as error:
            self.out.note(f"{paths.shown(self.folder / BEST)}: {error.strerror or error}")
        return best[0]

    def _report(self) -> Path:
        """The page; a fault in drawing it must not look like one of the study."""
        try:
            return report.write(self.folder, self.study, self.config)
        except Exception as error:  # noqa: BLE001 - every trial is safe, and --report shows the fault
            self.out.note(f"the report can't be written: {kind_and_text(error)}")
            return self.folder / report.REPORT

    def _begin(self) -> None:
        config = self.config
        trials = self.study.get_trials(deepcopy=False)
        forked = sum(_origin(trial) is not None for trial in trials)
        done = sum(trial.state.is_finished() for trial in trials) - forked
        goals = ", ".join(
            f"{'minimize' if m.mode == 'min' else 'maximize'} {m.metric}" for m in config.monitors
        )
        again = f", {done} of them done already" if done else ""
        again += f"; it knows {forked} of another study" if forked else ""
        workers = f"{config.n_workers} worker{'s' if config.n_workers > 1 else ''}"
        where = ", ".join(config.devices[: config.n_workers]) or workers
        sampler = config.sampler.target.rpartition(".")[2]
        pruner = config.pruner.target.rpartition(".")[2] if config.pruner else "no pruner"
        dashboard = shell_commands.main("--dashboard", config.study_name)
        self.out.begin(
            {
                "Study": f"{paths.shown(self.folder)}  ({goals}; {config.total} trials{again})",
                "Search": f"{sampler}, {pruner}, seed {config.seed}; {where}",
                "Storage": f"{shown_url(config.storage)}  ({dashboard})",
            },
            study=config.study_name, folder=paths.shown(self.folder), trials=config.total, done=done,
        )  # fmt: skip

    def _end(self, result: StudyResult, page: Path | None, command: Sequence[str] = ()) -> None:
        """Print the result; `command` continues a study that a signal has stopped, before it has a page."""
        counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in result.outcomes.items())
        end = ": ".join(filter(None, ["Done" if result.done else "Stopped", result.reason]))
        lines = ["", f"{end}. Trials: {counts}."]
        values: dict[str, float] = {}
        if result.best is not None:
            values = dict(zip(self.metrics, result.best.values, strict=True))
            shown = "  ".join(f"{name} {format_number(value)}" for name, value in values.items())
            lines.append(f"Best     trial {result.best.number}: {shown}")
            if (origin := _origin(result.best)) is not None:
                name, number = origin
                lines.append(f"         which is trial {number} of the study '{name}'")
            if recipe := _recipe(self.folder, result.best):
                lines.append(f"Again    {shell_commands.main('--run', recipe)}")
        else:
            lines.append("No trial has finished well; the causes are in the report.")
        written = None if page is None else paths.shown(page)
        lines.append(f"Report   {written or shell_commands.main('--report', self.folder)}")
        if command:
            lines.append(f"Continue {shell_commands.again(command)}")
        self.out.end(
            lines, reason=result.reason, outcomes=dict(result.outcomes), values=values,
            report=written, best=None if result.best is None else result.best.number,
        )  # fmt: skip


def rebuild_report(name: str, root: Path = Path("studies")) -> Path:
    """Rebuild a study's report from its folder and its database.

    Args:
        name: of the study, or the path of its folder.

    Raises:
        ValueError: there is no such study.
        StorageError: its database can't be used.
    """
    # os.path says no of a name that no file can have.
    folder = Path(name) if os.path.exists(Path(name) / STUDY) else root / name  # noqa: PTH110
    if not os.path.exists(folder / STUDY):  # noqa: PTH110
        names = sorted(path.parent.name for path in root.glob(f"*/{STUDY}"))
        gone = without_folder(name, OptimizeConfig.defaults()["storage"])
        raise ValueError(f"there is no study '{name}' in {root}{gone or did_you_mean(name, names)}")
    config = OptimizeConfig.from_yaml(folder / STUDY)
    file = database_file(config.storage)
    if file is not None and not file.exists():
        raise StorageError(
            f"the study's database {paths.shown(file)} is not there; put it back, for it has the values"
        )
    database = Database(without_hidden(config.storage))
    try:
        study = optuna.load_study(study_name=config.study_name, storage=database.storage)
    except KeyError:
        message = (
            f"{shown_url(config.storage)} holds no study '{config.study_name}'; put the study's database back"
        )
        raise StorageError(message) from None
    if is_foreign(folder, study):
        raise StorageError(
            f"{shown_url(config.storage)} has another study '{config.study_name}' than the one of {folder}"
        )
    return report.write(folder, study, config)


def _outcomes(study: optuna.Study) -> Counter[str]:
    known = [(trial, TrialAttributes.of(trial)) for trial in study.get_trials(deepcopy=False)]
    return Counter(
        str(attributes.outcome or Outcome.COMPLETED)
        if trial.state.is_finished()
        else {TrialState.RUNNING: RUNNING, TrialState.WAITING: WAITING}[trial.state]
        for trial, attributes in known
        if attributes.forked_from is None
    )


def _recipe(folder: Path, best: FrozenTrial) -> Path | None:
    """The config that repeats the best trial; of one that a fork was given, in the folder it comes from."""
    place = folder / BEST
    if (origin := _origin(best)) is not None:
        name, number = origin
        source = folder.parent / name
        known = read_trial(source / BEST).get("number") == int(number)
        place = source / BEST if known else source / f"trial_{int(number):05d}"
    elif read_trial(place).get("number") != best.number:
        return None  # that of another trial, for this one's folder is gone
    return place / run_folder.CONFIG if (place / run_folder.CONFIG).exists() else None


def _origin(trial: FrozenTrial) -> tuple[str, str] | None:
    """The study and the number that a fork's trial had; None where the trial is the study's own."""
    origin = TrialAttributes.of(trial).forked_from
    if origin is None:
        return None
    name, _, number = origin.rpartition(" ")
    return name, number
