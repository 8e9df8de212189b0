"""What to do: reads the command line and the config, and does one thing.

Exit codes: 0 done; 1 the run failed or diverged, or a check found something; 2 the command line or the config
is wrong; 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lab import rundir
from lab.config import ConfigError, OptimizeConfig, RunConfig, is_study, loading

if TYPE_CHECKING:
    from lab.callbacks.progress import Style
    from lab.events import RunResult
    from util import Trainer

RUNS, STUDIES = Path("runs"), Path("studies")
WRONG = 2
VERBS = ("run", "resume", "optimize", "check", "list", "compare", "report", "schema")
# Which options go with which verbs; any other would have no effect, and is refused.
GOES_WITH = {
    "set": ("run", "resume", "optimize", "check"),
    "print_config": ("run", "resume", "optimize", "check"),
    "no_plots": ("run", "resume"),
    "quiet": ("run", "resume", "optimize"),
    "json": ("run", "resume", "optimize", "check", "list"),
    "fork": ("optimize",),
    "sort": ("list",),
    "ascending": ("list",),
    "project": ("list",),
    "outcome": ("list",),
    "where": ("list",),
}


class Terminated(SystemExit):
    """SIGTERM, raised where the program is, so that the run is closed in order."""


class Refused(Exception):
    """It can't be done with this run; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    options = parser().parse_args(arguments)
    refuse_idle(options)
    command = ["python", "main.py", *(sys.argv[1:] if arguments is None else arguments)]
    try:
        return act(options, command)
    except ConfigError as error:
        count = len(error.problems)
        print(f"{count} problem{'s' if count > 1 else ''} with the config:", file=sys.stderr)
        print("\n".join(f"  {problem}" for problem in error.problems), file=sys.stderr)
        if error.note:
            print(error.note, file=sys.stderr)
        return WRONG
    except (Refused, rundir.Unwritable) as error:
        return complain(error)
    except rundir.RunInUse as error:
        return complain(f"{error}; wait for it, or start a new run")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as stop:  # a signal, which the code tells
        return int(stop.code or 0)
    except BrokenPipeError:  # the reader of a list has seen enough
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="main.py",
        description="One YAML runs one experiment, another runs a whole search.",
        epilog="Examples:\n"
        "  python main.py --run configs/run.yaml --set epochs=20 --set optimizer.lr=1e-4\n"
        "  python main.py --resume runs/20261121-101500_spheroids --set epochs=40\n"
        "  python main.py --optimize configs/opt.yaml\n"
        "  python main.py --list --sort val_dice --where optimizer.lr=1e-3\n"
        "  python main.py --compare RUN RUN",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = result.add_argument_group("what to do")
    verbs.add_argument("--run", "--config", dest="run", metavar="YAML", help="run one experiment")
    verbs.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with a run, by its own config or that of --run; --set epochs=N extends it",
    )
    verbs.add_argument(
        "--optimize", metavar="YAML", help="search; the same command again goes on, and elsewhere it joins in"
    )
    verbs.add_argument(
        "--check", metavar="YAML", help="one batch through the real path, in seconds; of a study, its corners"
    )
    verbs.add_argument("--list", action="store_true", help="the runs here, as a table")
    verbs.add_argument("--compare", nargs="+", metavar="RUN", help="differences and curves of several runs")
    verbs.add_argument("--report", metavar="STUDY", help="build a study's report.html anew")
    verbs.add_argument(
        "--schema", choices=["run", "optimize"], help="the JSON Schema of a config, for editors"
    )
    config = result.add_argument_group("with --run, --resume, --optimize and --check")
    config.add_argument("--set", action="append", default=[], metavar="PATH=VALUE",
                        help="override any value, such as optimizer.lr=1e-3; may be repeated")  # fmt: skip
    config.add_argument("--print-config", action="store_true", help="show the resolved config and stop")
    config.add_argument("--json", action="store_true", help="JSON on standard output; with --list too")
    run = result.add_argument_group("with --run, --resume and --optimize")
    run.add_argument("--quiet", action="store_true", help="the result only")
    run.add_argument("--no-plots", action="store_true", help="draw no pictures; with --run and --resume")
    run.add_argument("--fork", metavar="NAME", help="with --optimize: a new study of this name, by the file "
                     "as it is now, that begins with the finished trials which still fit")  # fmt: skip
    notebook = result.add_argument_group("with --list")
    notebook.add_argument("--sort", metavar="METRIC", help="by a metric's best value, or last.METRIC")
    notebook.add_argument("--ascending", action="store_true", help="with --sort: smallest first")
    notebook.add_argument("--project", help="only this project")
    notebook.add_argument("--outcome", help="only this outcome, such as completed")
    notebook.add_argument("--where", action="append", default=[], metavar="KEY=VALUE",
                          help="only runs with this value in their config")  # fmt: skip
    return result


def refuse_idle(options: argparse.Namespace) -> None:
    """Leave with an error unless there is one thing to do, and every option has an effect on it."""
    command = parser()
    given = [name for name, value in vars(options).items() if value != command.get_default(name)]
    verbs = [name for name in VERBS if name in given]
    if len(verbs) != 1 and verbs != ["run", "resume"]:
        found = _flags(verbs) or "nothing"
        command.error(f"say one thing to do: {_flags(VERBS, 'or')}; found {found}")
    for name in given:
        if name in GOES_WITH and not set(verbs) & set(GOES_WITH[name]):
            command.error(
                f"{_flags([name])} has no effect with {_flags(verbs)}; it goes with {_flags(GOES_WITH[name])}"
            )
    if options.ascending and options.sort is None:
        command.error("--ascending has no effect without --sort")
    if options.quiet and (options.json or options.print_config):
        command.error(f"--quiet has no effect with {'--json' if options.json else '--print-config'}")


def _flags(names: Sequence[str], last: str = "and") -> str:
    """`--run, --resume and --check`."""
    flags = [f"--{name.replace('_', '-')}" for name in names]
    return f" {last} ".join([", ".join(flags[:-1]), flags[-1]] if len(flags) > 1 else flags)


def act(options: argparse.Namespace, command: list[str]) -> int:
    """One verb."""
    verb = next(name for name in VERBS if getattr(options, name) not in (None, False))
    match verb:
        case "run" | "resume":
            return run(options, command)
        case "optimize":
            return optimize(options, command)
        case "check":
            return check(options)
        case "report":
            return report(options)
        case "list":
            return list_runs(options)
        case "compare":
            return compare(options)
        case _:
            kind = RunConfig if options.schema == "run" else OptimizeConfig
            print(json.dumps(kind.model_json_schema(), indent=2))
            return 0


def run(options: argparse.Namespace, command: list[str]) -> int:
    """--run and --resume."""
    folder = None if options.resume is None else find_run(options.resume)
    path = options.run if folder is None or options.run is not None else folder / rundir.CONFIG
    config, document = read(path, options)
    if options.print_config:
        return print_config(config, options)
    console: Style = "json" if options.json else "quiet" if options.quiet else "auto"
    try:
        config.check()
        signal.signal(signal.SIGTERM, _terminate)
        result = train(config, folder, console, command)
    except ConfigError as error:
        raise document.located(error) from error
    return 1 if result.outcome in ("diverged", "failed") else 0


def train(config: RunConfig, folder: Path | None, console: "Style", command: list[str]) -> "RunResult":
    """A new run, or one that goes on in its folder; torch is loaded only here.

    Raises:
        ConfigError: a component can't be built, or the checkpoint belongs to another network.
        Refused: the run's checkpoints are damaged.
    """
    import util
    from lab.checkpoint import CheckpointError

    try:
        return util.run(config, run_dir=folder, resume=folder is not None, console=console, command=command)
    except CheckpointError as error:
        raise Refused(error) from error


def optimize(options: argparse.Namespace, command: list[str]) -> int:
    """--optimize."""
    config, document = read_study(options.optimize, options)
    if options.print_config:
        return print_config(config, options)
    console: Style = "json" if options.json else "quiet" if options.quiet else "auto"
    try:
        from lab.hpo import server

        apart = config.isolation == "process"
        if apart:
            server.warm_up(config.base, "util")  # it imports torch, and this process needn't
        from lab.hpo import study
        from lab.hpo.storage import StorageError

        if config.preflight != "off":
            server.check(config) if apart else config.check()
        try:
            if config.preflight == "full" and not check_study(config, console):
                return 1
            result = study.optimize(config, train_trial, console=console, command=command, fork=options.fork)
        except StorageError as error:
            raise Refused(error) from error
    except ConfigError as error:
        raise document.located(error) from error
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
    from lab.hpo import check as corners

    found = corners.check(config, build_trainer)
    if console != "quiet":
        print(found.as_json() if console == "json" else found.as_text())
    return found.passed


def report(options: argparse.Namespace) -> int:
    """--report."""
    from lab.hpo import study
    from lab.hpo.storage import StorageError

    try:
        print(study.rebuild_report(options.report, STUDIES))
    except (StorageError, ValueError) as error:
        return complain(error)
    return 0


def check(options: argparse.Namespace) -> int:
    """--check."""
    if is_study(loading.read(options.check)):
        study, document = read_study(options.check, options)
        if options.print_config:
            return print_config(study, options)
        from lab.hpo import server

        server.warm_up(study.base, "util")
        try:
            server.check(study)
            return 0 if check_study(study, "json" if options.json else "auto") else 1
        except ConfigError as error:
            raise document.located(error) from error
    config, document = read(options.check, options)
    if options.print_config:
        return print_config(config, options)
    try:
        config.check()
        from lab.preflight import preflight
        from util import Trainer

        report = preflight(config, Trainer.from_config)
    except ConfigError as error:
        raise document.located(error) from error
    print(report.as_json() if options.json else report.as_text())
    return 0 if report.passed else 1


def print_config(config: RunConfig | OptimizeConfig, options: argparse.Namespace) -> int:
    """--print-config."""
    print(json.dumps(config.as_data(), indent=2) if options.json else config.to_yaml().rstrip("\n"))
    return 0


def list_runs(options: argparse.Namespace) -> int:
    """--list."""
    from lab.report import notebook

    rows = notebook.read_runs([RUNS])
    total = len(rows)
    try:
        rows = notebook.select(rows, project=options.project, outcome=options.outcome, where=options.where)
        if options.sort:
            rows = notebook.sort(rows, options.sort, descending=False if options.ascending else None)
    except ValueError as error:
        return complain(error)
    print(notebook.as_json(rows) if options.json else notebook.as_table(rows, options.sort, total=total))
    return 0


def compare(options: argparse.Namespace) -> int:
    """--compare."""
    from lab.report import compare as report

    try:
        print(report.compare(options.compare, RUNS))
    except ValueError as error:
        return complain(error)
    return 0


def complain(error: object) -> int:
    """Say what is wrong with the command line."""
    print(f"main.py: {error}", file=sys.stderr)
    return WRONG


def read(path: str | Path, options: argparse.Namespace) -> tuple[RunConfig, loading.Document]:
    """The config, and the document that knows where each value was written."""
    overrides = [*options.set, *(["pictures.enabled=false"] if options.no_plots else [])]
    document = loading.read(path)
    document = loading.override(document, overrides, RunConfig.defaults())
    return RunConfig.from_document(document), document


def read_study(path: str, options: argparse.Namespace) -> tuple[OptimizeConfig, loading.Document]:
    """The same for a study's file."""
    document = OptimizeConfig.read(path, options.set)
    return OptimizeConfig.from_document(document), document


def find_run(name: str) -> Path:
    """A run's folder by its path, its name in runs/, or the unique beginning of its name.

    Raises:
        Refused: there is none; with the nearest names there are.
    """
    from lab.report.notebook import find

    try:
        return find(name, [RUNS])
    except ValueError as error:
        raise Refused(error) from error


def _terminate(number: int, frame: FrameType | None) -> Any:
    raise Terminated(128 + number)


if __name__ == "__main__":
    sys.exit(main())
