"""Command line of the program: reads the options and the config, and does one thing.

Exit codes: 0 done; 1 the run failed or diverged, or a check found something; 2 the command line, the config
or the first batch is wrong; 3 some images couldn't be predicted; 130, 143 and 129 stopped by Ctrl-C, SIGTERM
and SIGHUP.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.config import (
    ConfigError,
    Infeasible,
    OptimizeConfig,
    RunConfig,
    config_file,
    import_policy,
    is_study,
    module_locations,
    saved_config,
)
from lab.config.refused_command import Refused, refusing
from lab.config.wandb_environment import settled
from lab.console import command_line, shell_commands, streams
from lab.console.redacted_output import redacted_output
from lab.console.signals import Interrupted, SignalCallback, Signals
from lab.console.silent_exits import silent_exits_fail
from lab.events import Stopped
from lab.store import file_io, paths, run_folder, socket_folder

if TYPE_CHECKING:
    from lab.events import RunResult
    from lab.train.callbacks.progress_bar import Style
    from util import Trainer

RUNS, STUDIES = Path("runs"), Path("studies")
WRONG, INCOMPLETE = 2, 3


def main(arguments: list[str] | None = None) -> int:
    """Execute the command line; returns the exit code."""
    options = command_line.parsed(arguments)
    # Before anything is imported that a config names, here or in a process that is started.
    import_policy.guard(options.allow_import, options.run or options.optimize or options.check)
    # A record keeps the command as it was typed, before `~` is expanded.
    given = sys.argv[1:] if arguments is None else arguments
    command = shell_commands.recorded([*map(command_line.as_text, given)])
    socket_folder.shorten()
    try:
        with silent_exits_fail(), paths.anchored():
            return act(options, command)
    except ConfigError as error:
        print(error.as_text(), file=sys.stderr)
        return WRONG
    except (Refused, file_io.Unwritable, Infeasible) as error:
        return complain(error)
    except file_io.RunInUse as error:
        return complain(f"{error}; wait for it, or start a new run")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as stop:  # a signal, which the code names
        return int(stop.code or 0)
    except OSError as error:
        places = [Path(place) for place in (options.resume, options.output) if place]
        if not file_io.is_storage_fault(error, RUNS, STUDIES, *places):
            raise
        again = shell_commands.main("--resume", "RUN")
        how = f"what was saved is intact; correct this, and continue by the same command or {again}"
        print(f"main.py: {file_io.storage_message(error)}; {how}", file=sys.stderr)
        return 1


def act(options: argparse.Namespace, command: list[str]) -> int:
    """One verb."""
    verb = next(name for name in command_line.VERBS if getattr(options, name) not in (None, False))
    if verb in ("run", "resume"):
        return run(options, command)
    if verb == "optimize":
        return optimize(options, command)
    if verb == "schema":
        kind = RunConfig if options.schema == "run" else OptimizeConfig
        print(json.dumps(kind.model_json_schema(), indent=2))
        return lost()
    others = {
        "predict": predict, "evaluate": evaluate, "export": export, "check": check, "report": report,
        "list": list_runs, "compare": compare, "dashboard": dashboard, "selftest": selftest,
    }  # fmt: skip
    return others[verb](options)


def run(options: argparse.Namespace, command: list[str]) -> int:
    """--run and --resume."""
    folder = None if options.resume is None else find_run(options.resume)
    path = options.run if folder is None or options.run is not None else folder / run_folder.CONFIG
    config, document = read(path, options)
    if options.print_config:
        return print_config(config, options)
    console: Style = "json" if options.json else "quiet" if options.quiet else "auto"
    with document.locating(), Signals(Interrupted) as signals:
        config.check()
        result = train(
            config, signals, run_dir=folder, resume=folder is not None, console=console, command=command,
            source=document.text if options.run else "",
        )  # fmt: skip
    return result.outcome.exit_code


def train(config: RunConfig, signals: Signals, **options: Any) -> "RunResult":
    """A new run, or one that continues in its folder; torch is loaded only here.

    Args:
        options: of `util.run`.

    Raises:
        ConfigError: a component can't be built, or the checkpoint belongs to another network.
        Refused: the run's checkpoints are damaged.
    """
    import util
    from lab.train.first_batch_errors import problem_of

    try:
        return util.run(config, callbacks=[SignalCallback(signals)], **options)
    # A Stopped is a SystemExit, too, and must not be taken for one of the user's code.
    except (Stopped, Refused):
        raise
    except SystemExit as error:
        raise RuntimeError(f"the run's own code ended it: SystemExit: {error}") from error
    except Exception as error:
        if (problem := problem_of(error)) is None:
            raise
        raise ConfigError([problem]) from error


def optimize(options: argparse.Namespace, command: list[str]) -> int:
    """--optimize."""
    config, document = saved_config.read_study(options.optimize, options.set)
    if options.print_config:
        return print_config(config, options)
    console: Style = "json" if options.json else "quiet" if options.quiet else "auto"
    with document.locating():
        from lab.hpo import forkserver

        apart = config.isolation == "process"
        config.check_shapes()
        if apart:
            forkserver.warm_up(config.base, "util")  # it imports torch, and this process needn't
        # Optuna is imported after the check of the shapes, so that a slip in the file is reported at once.
        from lab.hpo import study

        if config.preflight != "off":
            with paths.anchored():  # the processes of trials begin in the current folder
                forkserver.check(config) if apart else config.check()
        if config.preflight == "full" and not check_study(config, console):
            return 1
        result = study.optimize(config, train_trial, console=console, command=command, fork=options.fork)
    return 1 if result.failed else 0


def train_trial(run_config: RunConfig, **options: Any) -> "RunResult":
    """`util.run`, imported by the process that trains."""
    from util import run

    return run(run_config, **options)


def build_trainer(config: RunConfig, **options: Any) -> "Trainer":
    """`Trainer.from_config`, imported by the process that tries it."""
    from util import Trainer

    return Trainer.from_config(config, **options)


def check_study(config: OptimizeConfig, console: "Style") -> bool:
    """A batch at each corner of the space; whether all of them passed."""
    from lab.hpo import preflight as corners

    found = corners.check(config, build_trainer)
    if console != "quiet":
        print(found.as_json() if console == "json" else found.as_text())
    return found.passed


def report(options: argparse.Namespace) -> int:
    """--report."""
    from lab.hpo import study

    try:
        print(study.rebuild_report(options.report, STUDIES))
    except ValueError as error:
        return complain(error)
    return 0


def dashboard(options: argparse.Namespace) -> int:
    """--dashboard."""
    from lab.hpo import dashboard

    with refusing():
        dashboard.serve(options.dashboard, STUDIES, options.host, options.port, options.token)
    return 0


def predict(options: argparse.Namespace) -> int:
    """--predict: masks or classes, by the run's task."""
    from lab.predict import loaded_run
    from lab.tasks import Classification

    run = find_run(options.predict)
    how: dict[str, Any] = {
        "force": options.force,
        "bar": False if options.quiet else None,
        "value_range": options.value_range,
    }
    result: Any
    with refusing():
        if issubclass(loaded_run.task_of(run) or object, Classification):
            from lab.predict import classification as classify

            command_line.refuse_for_other_tasks(options)
            result = classify.predict(loaded_run.load(run), options.input, options.output, **how)
        else:
            from lab.predict import segmentation as masks
            from lab.predict.segmentation_run import load_segmenter

            how |= command_line.of_images(options, "predict")
            result = masks.predict(load_segmenter(run), options.input, options.output, **how)
    print(result.as_text())
    return INCOMPLETE if result.failed else 0


def evaluate(options: argparse.Namespace) -> int:
    """--evaluate: each task in its own way, one that has none by its loss and metrics."""
    from lab import tasks
    from lab.predict import loaded_run, moved_data
    from lab.report.classification import ClassificationReport
    from lab.report.evaluation_base import Report
    from lab.report.generic import GenericReport
    from lab.report.scene_graph import SceneGraphReport
    from lab.report.segmentation import SegmentationReport

    reports: tuple[type[Report[Any]], ...]
    reports = (SegmentationReport, ClassificationReport, SceneGraphReport, GenericReport)
    with refusing():
        folder = find_run(options.evaluate)
        file_io.refuse_links(folder)
        kind = loaded_run.task_of(folder) or object
        how: dict[str, Any] = {}
        if issubclass(kind, tasks.Segmentation):
            how = command_line.of_images(options, "evaluate")
        else:
            command_line.refuse_for_other_tasks(options)
        report = next(each for each in reports if issubclass(kind, each.evaluator.task))
        data = moved_data.values(folder, options.set)
        result: Any = report.evaluator(**how).evaluate(folder, options.split, data=data)
        text = report(result).publish(folder, options.output, options.json)
    print(text)
    return 0


def export(options: argparse.Namespace) -> int:
    """--export."""
    from lab.predict import export as exporting
    from lab.predict import moved_data
    from lab.predict.segmentation_run import load_segmenter

    kind, name = options.export
    folder = find_run(name)
    file_io.refuse_links(folder)
    try:
        with refusing():
            loaded_run = load_segmenter(folder, data=moved_data.values(folder, options.set))
            result = exporting.export(
                loaded_run, kind, options.output, images=options.input, force=options.force
            )
    except exporting.ExportError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 1
    print(result.as_text())
    return 0


def check(options: argparse.Namespace) -> int:
    """--check."""
    # The file itself shows whether it is a study's or a run's.
    if is_study(config_file.read(options.check)):
        study, document = saved_config.read_study(options.check, options.set)
        if options.print_config:
            return print_config(study, options)
        from lab.hpo import forkserver

        with document.locating():
            study.check_shapes()
            forkserver.warm_up(study.base, "util")
            forkserver.check(study)
            return 0 if check_study(study, "json" if options.json else "auto") else 1
    config, document = read(options.check, options)
    if options.print_config:
        return print_config(config, options)
    with document.locating():
        config.check()
        from lab.train.preflight import preflight
        from util import Trainer

        report = preflight(config, Trainer.from_config)
    print(report.as_json() if options.json else report.as_text())
    return 0 if report.passed else 1


def print_config(config: RunConfig | OptimizeConfig, options: argparse.Namespace) -> int:
    """--print-config."""
    if isinstance(config, RunConfig) and options.resume is None:
        config = settled(config)
    if options.json:
        print(json.dumps(config.as_data(), indent=2))
    else:
        print(config.to_yaml(getattr(sys.stdout, "encoding", None)).rstrip("\n"))
    return lost()


def list_runs(options: argparse.Namespace) -> int:
    """--list."""
    from lab.report import run_list

    rows = run_list.read_runs([RUNS])
    total = len(rows)
    try:
        rows = run_list.select(rows, project=options.project, outcome=options.outcome, where=options.where)
        if options.sort:
            rows = run_list.sort(rows, options.sort, descending=False if options.ascending else None)
    except ValueError as error:
        return complain(error)
    print(run_list.as_json(rows) if options.json else run_list.as_table(rows, options.sort, total=total))
    return lost()


def compare(options: argparse.Namespace) -> int:
    """--compare."""
    from lab.report import compare as report

    try:
        print(report.compare(options.compare, RUNS))
    except ValueError as error:
        return complain(error)
    return lost()


def selftest(options: argparse.Namespace) -> int:
    """--selftest."""
    from selftest import suite

    try:
        only = suite.chosen(options.only)
    except ValueError as error:
        return complain(f"--only: {error}")
    with refusing(), suite.bench(Path(options.output or "."), Path(__file__), train_trial) as bench:
        return 0 if suite.run_suite(bench, full=options.full, only=only, as_json=options.json) else 1


def lost() -> int:
    """The exit code of what has printed its result, and has it nowhere else."""
    return int(streams.failure() is not None)


def complain(error: object) -> int:
    """Report what is wrong with the command line."""
    print(f"main.py: {error}", file=sys.stderr)
    return WRONG


def read(path: str | Path, options: argparse.Namespace) -> tuple[RunConfig, config_file.Document]:
    """Read the config, and the document that has the place of each value."""
    overrides = [*options.set, *(["pictures.enabled=false"] if options.no_plots else [])]
    return saved_config.read_run(path, overrides, resumed=options.resume is not None)


def find_run(name: str) -> Path:
    """A run's folder by its path, its name in runs/, or the unique beginning of its name.

    Raises:
        Refused: there is none; with the nearest names there are.
    """
    from lab.report.run_list import find

    try:
        return module_locations.open_as_recorded(find(name, [RUNS]))
    except ValueError as error:
        raise Refused(error) from error


if __name__ == "__main__":
    # In this order: what is redacted goes to streams that never fail.
    with streams.standard_streams(), redacted_output():
        sys.exit(main())
