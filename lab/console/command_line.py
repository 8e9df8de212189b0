"""The command line: its options, and which of them go together."""

import argparse
import itertools
import os
from collections.abc import Sequence
from typing import Any

from lab.console import shell_commands
from lab.store import paths
from lab.store.ascii_fallback import can_write

VERBS = (
    "run", "resume", "optimize", "predict", "evaluate", "export", "check", "list", "compare", "report",
    "dashboard", "selftest", "schema",
)  # fmt: skip
KINDS = ("onnx", "torchscript", "safetensors")
_OF_CONFIG = ("set", "allow_import", "print_config", "json")
_OF_MASKS = ("threshold", "flips", "tile", "overlap", "pixel_size")
_OF_OBJECTS = ("min_area", "probabilities", "sequence")
# The options of each verb; any other would have no effect, and is refused.
_OPTIONS = {
    "run": (*_OF_CONFIG, "quiet", "no_plots"),
    "resume": (*_OF_CONFIG, "quiet", "no_plots"),
    "optimize": (*_OF_CONFIG, "quiet", "fork"),
    "check": _OF_CONFIG,
    "predict": ("allow_import", "quiet", "input", "output", "force", "value_range", *_OF_MASKS, *_OF_OBJECTS),
    "evaluate": ("set", "allow_import", "json", "output", "split", "tune_threshold", *_OF_MASKS),
    "export": ("set", "allow_import", "input", "output", "force"),
    "list": ("json", "sort", "ascending", "project", "outcome", "where"),
    "selftest": ("json", "output", "full", "only"),
    "dashboard": ("host", "port", "token"),
}
GOES_WITH = {
    name: [verb for verb, options in _OPTIONS.items() if name in options]
    for name in itertools.chain(*_OPTIONS.values())
}
"""The verbs of each option."""
OF_IMAGES = (*_OF_MASKS, "tune_threshold", *_OF_OBJECTS)


def _examples() -> list[str]:
    study = shell_commands.EXAMPLE.with_name("opt.yaml")
    return [
        shell_commands.main(
            "--run", shell_commands.EXAMPLE, "--set", "epochs=20", "--set", "optimizer.lr=1e-4"
        ),
        shell_commands.main("--resume", "RUN", "--set", "epochs=40"),
        shell_commands.main("--optimize", study),
        shell_commands.main("--predict", "RUN", "--input", "FOLDER", "--output", "masks"),
        shell_commands.main("--evaluate", "RUN", "--set", "data.root=FOLDER"),
        shell_commands.main("--list", "--sort", "val_loss", "--where", "optimizer.lr=1e-3"),
        shell_commands.main("--compare", "RUN", "RUN"),
    ]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        prog="main.py",
        description="Run an experiment, or a hyperparameter search, from a YAML file.",
        epilog="\n  ".join(["Examples:", *_examples()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = result.add_argument_group("what to do").add_argument
    verbs("--run", "--config", dest="run", type=_place, metavar="YAML", help="run one experiment")
    verbs("--resume", type=_place, metavar="RUN", help="resume a run, by its own config or that of --run; "
          "--set epochs=N extends it")  # fmt: skip
    verbs("--optimize", type=_place, metavar="YAML", help="run a hyperparameter search; the same command "
          "again continues it, and on other machines adds workers")  # fmt: skip
    verbs("--predict", type=_place, metavar="RUN", help="predict masks or classes of new images; needs "
          "--input, --output")  # fmt: skip
    verbs("--evaluate", type=_place, metavar="RUN", help="evaluate the best weights on the test or "
          "validation set")  # fmt: skip
    verbs("--export", type=_place, nargs=2, metavar=("KIND", "RUN"), help="export the network: onnx, "
          "torchscript or safetensors")  # fmt: skip
    verbs("--check", "--dry-run", dest="check", type=_place, metavar="YAML", help="dry run: one batch "
          "through the full pipeline; for a study, at the extremes of its space")  # fmt: skip
    verbs("--list", action="store_true", help="list the runs in runs/ as a table")
    verbs("--compare", type=_place, nargs="+", metavar="RUN", help="compare configs and curves of several "
          "runs")  # fmt: skip
    verbs("--report", type=_place, metavar="STUDY", help="rebuild a study's report.html")
    verbs("--dashboard", type=_place, nargs="?", const="sqlite:///studies.db", metavar="STUDY", help="show "
          "studies in a browser, by a study's name or file or a database's URL")  # fmt: skip
    verbs("--selftest", choices=["faults"], help="run the fault-injection suite on this machine; 5 minutes")
    verbs("--schema", choices=["run", "optimize"], help="print the JSON Schema of a config, for editors")
    _add_running(result)
    _add_prediction(result)
    _add_notebook(result)
    _add_dashboard(result)
    selftest = result.add_argument_group("with --selftest").add_argument
    selftest("--full", action="store_true", help="with the repetitions of the published numbers: half an "
             "hour")  # fmt: skip
    selftest("--only", metavar="N,N", help="only these rows of docs/guarantees.md")
    return result


def _add_running(result: argparse.ArgumentParser) -> None:
    config = result.add_argument_group("with --run, --resume, --optimize and --check").add_argument
    config("--set", action="append", default=[], metavar="PATH=VALUE", help="override any value, such as "
           "optimizer.lr=1e-3; may be repeated; with --evaluate and --export the present place of the data: "
           "data.root=PATH")  # fmt: skip
    config("--allow-import", action="append", default=[], metavar="PKG", help="let import paths name this "
           "package, too; may be repeated; also with --predict, --evaluate and --export")  # fmt: skip
    config("--print-config", action="store_true", help="print the resolved config and exit")
    config("--json", action="store_true", help="JSON on standard output; with --list too")
    run = result.add_argument_group("with --run, --resume and --optimize").add_argument
    run("--quiet", action="store_true", help="print the result only")
    run("--no-plots", action="store_true", help="draw no plots; with --run and --resume")
    run("--fork", metavar="NAME", help="with --optimize: a new study of this name, by the file as it is now, "
        "that begins with the finished trials which still fit")  # fmt: skip


def _add_notebook(result: argparse.ArgumentParser) -> None:
    notebook = result.add_argument_group("with --list").add_argument
    notebook("--sort", metavar="METRIC", help="sort by a metric's best value, or last.METRIC")
    notebook("--ascending", action="store_true", help="with --sort: smallest first")
    notebook("--project", help="only this project")
    notebook("--outcome", help="only this outcome, such as completed")
    notebook("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs with this value in "
             "their config")  # fmt: skip


def _add_dashboard(result: argparse.ArgumentParser) -> None:
    dashboard = result.add_argument_group("with --dashboard").add_argument
    dashboard("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on; other machines "
              "need a token")  # fmt: skip
    dashboard("--port", type=int, default=8080, help="port to listen on; 0: any free one")
    dashboard("--token", help="access token; prefer LAB_DASHBOARD_TOKEN, since arguments are visible in the "
              "process list")  # fmt: skip


def _add_prediction(result: argparse.ArgumentParser) -> None:
    both = result.add_argument_group("with --predict, --evaluate and --export").add_argument
    both("--output", type=_place, metavar="PATH", help="a folder, or the exported file; by default "
         "--evaluate and --export write into the run's folder")  # fmt: skip
    both("--threshold", type=float, metavar="P", help="probability above which a pixel is foreground; "
         "default: the tuned one, or the task's")  # fmt: skip
    both("--flips", "--tta", dest="flips", action="store_true", help="test-time augmentation: average over "
         "four flips of each image; better, slower")  # fmt: skip
    both("--tile", type=int, metavar="PIXELS", help="side of the tiles that large images are cut into")
    both("--overlap", type=int, metavar="PIXELS", help="overlap of neighbouring tiles")
    both("--pixel-size", type=float, metavar="UM", help="micrometres a pixel, for measures in µm")
    both("--force", action="store_true", help="overwrite existing files")
    both("--input", type=_place, metavar="PATH", help="a folder of images, an image, or a manifest.csv; with "
         "--export, images to verify with instead of the validation images")  # fmt: skip
    predict = result.add_argument_group("with --predict").add_argument
    predict("--min-area", type=int, default=0, metavar="PIXELS", help="leave out smaller objects")
    predict("--probabilities", action="store_true", help="write the probabilities, too")
    predict("--sequence", metavar="ID", help="the sequence ID of all images, for a conditioned network")
    predict("--value-range", nargs=2, type=float, metavar=("LOW", "HIGH"), help="values that become 0 and 1, "
            "in files of more than 8 bits; default: the run's")  # fmt: skip
    evaluate = result.add_argument_group("with --evaluate").add_argument
    evaluate("--split", choices=["test", "val"], help="default: test where there is one, else val")
    evaluate("--tune-threshold", action="store_true", help="find the best threshold on the validation "
             "images, and store it")  # fmt: skip


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line, with the home folder in the place of `~`; leave with an error if it is wrong."""
    options = parser().parse_args(arguments)
    options.set = [as_text(assignment) for assignment in options.set]
    refuse_idle(options)
    return options


def as_text(argument: str) -> str:
    """A value of the command line, which is UTF-8 wherever the locale has no letters beyond ASCII."""
    if can_write(argument, "utf-8"):
        return argument
    return os.fsencode(argument).decode("utf-8", "surrogateescape")


def _place(text: str) -> str:
    """Expand a path, or a database's URL: a shell expands `~` at the beginning of a word only.

    Raises:
        ArgumentTypeError: it names a variable, or an unknown home folder.
    """
    url = "://" in text
    if message := paths.url_problem(text) if url else paths.problem_of(text):
        raise argparse.ArgumentTypeError(f"{text}: {message}")
    if url:
        return paths.url_expanded(text)
    return str(paths.expanded(text)) if text[:1] == "~" else text


def refuse_idle(options: argparse.Namespace) -> None:
    """Leave with an error unless there is one thing to do, and every option has an effect on it."""
    command = parser()
    given = [name for name, value in vars(options).items() if value != command.get_default(name)]
    verbs = [name for name in VERBS if name in given]
    # --run beside --resume is the one pair: its config takes the place of the recorded one.
    if len(verbs) != 1 and verbs != ["run", "resume"]:
        found = _flags(verbs) or "nothing"
        command.error(f"specify exactly one of {_flags(VERBS, 'or')}; found {found}")
    # An option without an effect would look as if it had one.
    for name in given:
        if name in GOES_WITH and not set(verbs) & set(GOES_WITH[name]):
            command.error(
                f"{_flags([name])} has no effect with {_flags(verbs)}; it goes with {_flags(GOES_WITH[name])}"
            )
    if options.predict and not (options.input and options.output):
        command.error("--predict needs --input PATH and --output FOLDER")
    for name in ("tile", "overlap", "min_area"):
        if (value := getattr(options, name)) is not None and value < (name == "tile"):
            command.error(f"{_flags([name])} must be at least {int(name == 'tile')}, found {value}")
    if options.export and options.export[0] not in KINDS:
        command.error(f"--export takes {', '.join(KINDS)}; found {options.export[0]!r}")
    if options.export and options.input and options.set:
        command.error("--set has no effect with --export and --input: the run's own images are not read")
    if options.only and not all(part.strip().isdecimal() for part in options.only.split(",")):
        command.error(f"--only takes row numbers, such as 1,4; found {options.only!r}")
    for name in options.allow_import:
        if not all(part.isidentifier() for part in name.split(".")):
            command.error(f"--allow-import takes a package's name, such as einops; found {name!r}")
    if options.ascending and options.sort is None:
        command.error("--ascending has no effect without --sort")
    if options.quiet and (options.json or options.print_config):
        command.error(f"--quiet has no effect with {'--json' if options.json else '--print-config'}")


def of_images(options: argparse.Namespace, verb: str) -> dict[str, Any]:
    """The options for the prediction or evaluation of a segmentation's images, by name."""
    given = {name: getattr(options, name) for name in OF_IMAGES if verb in GOES_WITH[name]}
    if "tune_threshold" in given:
        given["tune"] = given.pop("tune_threshold")
    return given


def refuse_for_other_tasks(options: argparse.Namespace) -> None:
    """Leave with an error where a run of another task is asked for what only segmentation has."""
    command = parser()
    given = [name for name in OF_IMAGES if getattr(options, name) != command.get_default(name)]
    if given:
        command.error(f"{_flags(given)} can't be used: the run's task is not segmentation")


def _flags(names: Sequence[str], last: str = "and") -> str:
    """`--run, --resume and --check`."""
    flags = [f"--{name.replace('_', '-')}" for name in names]
    return f" {last} ".join([", ".join(flags[:-1]), flags[-1]] if len(flags) > 1 else flags)
