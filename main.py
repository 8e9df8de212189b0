"""What to do: reads the command line and the config, and does one thing.

Exit codes: 0 done; 1 the run failed or diverged, or a check found something; 2 the command line or the config
is wrong; 130 and 143 stopped by Ctrl-C and SIGTERM.
"""

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from lab import rundir
from lab.config import ConfigError, RunConfig, loading
from lab.config.problems import did_you_mean

if TYPE_CHECKING:
    from lab.callbacks.progress import Style

RUNS = Path("runs")
WRONG = 2


class Terminated(SystemExit):
    """SIGTERM, raised where the program is, so that the run is closed in order."""


class NoSuchRun(Exception):
    """There is no run of that name."""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    options = parser().parse_args(arguments)
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
    except NoSuchRun as error:
        return complain(error)
    except rundir.RunInUse as error:
        return complain(f"{error}; wait for it, or start a new run")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Terminated:
        return 128 + signal.SIGTERM
    except BrokenPipeError:  # the reader of a list has seen enough
        sys.stderr.close()
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="main.py",
        description="One YAML runs one experiment.",
        epilog="Examples:\n"
        "  python main.py --run configs/run.yaml --set epochs=20 --set optimizer.lr=1e-4\n"
        "  python main.py --resume runs/20261121-101500_spheroids --set epochs=40\n"
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
    verbs.add_argument("--check", metavar="YAML", help="one batch through the real path, in seconds")
    verbs.add_argument("--list", action="store_true", help="the runs here, as a table")
    verbs.add_argument("--compare", nargs="+", metavar="RUN", help="differences and curves of several runs")
    verbs.add_argument("--schema", choices=["run"], help="the JSON Schema of a config, for editors")
    run = result.add_argument_group("with --run, --resume and --check")
    run.add_argument("--set", action="append", default=[], metavar="PATH=VALUE", dest="overrides",
                     help="override any value, such as optimizer.lr=1e-3; may be repeated")  # fmt: skip
    run.add_argument("--print-config", action="store_true", help="show the resolved config and stop")
    run.add_argument("--no-plots", action="store_true", help="draw no pictures")
    run.add_argument("--quiet", action="store_true", help="the result only")
    run.add_argument("--json", action="store_true", help="JSON on standard output")
    notebook = result.add_argument_group("with --list")
    notebook.add_argument("--sort", metavar="METRIC", help="by a metric's best value, or last.METRIC")
    notebook.add_argument("--ascending", action="store_true", help="smallest first")
    notebook.add_argument("--project", help="only this project")
    notebook.add_argument("--outcome", help="only this outcome, such as completed")
    notebook.add_argument("--where", action="append", default=[], metavar="KEY=VALUE",
                          help="only runs with this value in their config")  # fmt: skip
    return result


def act(options: argparse.Namespace, command: list[str]) -> int:
    """One verb."""
    verbs = [name for name in ("check", "list", "compare", "schema") if getattr(options, name)]
    verbs += ["run"] if options.run or options.resume else []
    if len(verbs) != 1:
        found = " and ".join(f"--{verb}" for verb in verbs) or "nothing"
        parser().error(
            f"say one thing to do: --run, --resume, --check, --list, --compare or --schema; found {found}"
        )
    idle = [name for name in ("overrides", "print_config", "no_plots") if getattr(options, name)]
    if idle and verbs[0] not in ("run", "check"):
        name = "set" if idle[0] == "overrides" else idle[0].replace("_", "-")
        parser().error(f"--{name} has no effect with --{verbs[0]}; remove it")
    match verbs[0]:
        case "run":
            return run(options, command)
        case "check":
            return check(options)
        case "list":
            return list_runs(options)
        case "compare":
            return compare(options)
        case _:
            print(json.dumps(RunConfig.model_json_schema(), indent=2))
            return 0


def run(options: argparse.Namespace, command: list[str]) -> int:
    """--run and --resume."""
    folder = find_run(options.resume) if options.resume else None
    path = options.run or (folder / rundir.CONFIG if folder else "")
    config, document = read(path, options)
    if options.print_config:
        return print_config(config, options)
    try:
        config.check()
        signal.signal(signal.SIGTERM, _terminate)
        import util

        console: Style = "json" if options.json else "quiet" if options.quiet else "auto"
        result = util.run(config, run_dir=folder, resume=folder is not None, console=console, command=command)
    except ConfigError as error:
        raise document.located(error) from error
    return 1 if result.outcome in ("diverged", "failed") else 0


def check(options: argparse.Namespace) -> int:
    """--check."""
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


def print_config(config: RunConfig, options: argparse.Namespace) -> int:
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
    overrides = [*options.overrides, *(["pictures.enabled=false"] if options.no_plots else [])]
    document = loading.read(path)
    document = loading.override(document, overrides, RunConfig.defaults())
    return RunConfig.from_document(document), document


def find_run(name: str) -> Path:
    """A run folder by its path, or by its name in runs/.

    Raises:
        NoSuchRun: with the nearest name there is.
    """
    for folder in (Path(name), RUNS / name):
        if (folder / rundir.CONFIG).is_file():
            return folder
    near = did_you_mean(Path(name).name, [p.name for p in RUNS.glob("*") if p.is_dir()])
    raise NoSuchRun(f"there is no run '{name}'{near if near.startswith('; did') else ''}")


def _terminate(number: int, frame: FrameType | None) -> Any:
    raise Terminated(128 + number)


if __name__ == "__main__":
    sys.exit(main())
