"""The current location of a finished run's data: the only values that `--set` may change for `--evaluate` and
`--export`.

The weights' own config applies to everything else, the split of the data included. But file locations change:
a run, or its images, may have been copied to another machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.config import ConfigError, Problem, RunConfig, config_file
from lab.config.problems import shown
from lab.console import shell_commands
from lab.store import run_folder

# The last word of an argument that sets where files lie, or how many of them are kept in memory.
_PLACES = frozenset(
    (
        *("root", "path", "folder", "dir", "directory", "file", "filename", "manifest", "metadata", "table"),
        *("csv", "json", "annotation", "image", "mask", "video", "archive", "cache"),
    )
)
_OTHERS = ("cache_gb",)


def is_place(name: str, value: object = None) -> bool:
    """Return whether an argument of a data source sets where files lie: `root`, `train_dir`, `csv_files`.

    Args:
        value: that the run has for it; a path with folders counts, too, whatever the name is.
    """
    last = name.lower().rpartition("_")[2]
    alike = {last, last.removesuffix("s"), last.removesuffix("ies") + "y"}
    return name in _OTHERS or bool(_PLACES & alike) or (isinstance(value, str) and "/" in value)


def values(folder: Path, assignments: Sequence[str]) -> dict[str, object]:
    """Return where `--set` places a run's data, by path.

    Raises:
        ConfigError: it sets anything else, or can't be read; all problems in one error.
    """
    if not assignments:
        return {}
    document = config_file.override(
        config_file.read(folder / run_folder.CONFIG), assignments, RunConfig.defaults()
    )
    before = RunConfig.from_document(config_file.read(folder / run_folder.CONFIG)).data.arguments
    found, problems = dict[str, object](), [*document.problems]
    unread = {problem.where for problem in problems}
    # Collect all problems, so that the user fixes them in one go.
    for assignment in assignments:
        path, where = config_file.split(assignment.partition("=")[0].strip()), f"--set {assignment}"
        if where in unread:
            continue
        if len(path) != 2 or path[0] != "data" or not is_place(name := str(path[1]), before.get(name)):
            places = [f"data.{each}" for each, value in before.items() if is_place(each, value)]
            message = (
                "the run was trained with this value, so it cannot be changed; only the data's location can: "
                f"{', '.join(places or ['data.root'])}"
            )
            problems.append(Problem(path, message, where))
            continue
        value = document.data["data"].get(name)
        if isinstance(value, (bool, Mapping)):
            problems.append(Problem(path, f"expected a path, found {shown(value)}", where))
        found[f"data.{name}"] = value
    if problems := problems or _refused(RunConfig.from_document(document), found):
        raise document.located(ConfigError(problems))
    return found


def _refused(config: RunConfig, found: Mapping[str, object]) -> list[Problem]:
    """Return what the run's data source doesn't take of these: unknown arguments, paths with a variable."""
    wrong = ConfigError(list(config.data.check())).below(("data",)).problems
    return [problem for problem in wrong if ".".join(map(str, problem.path[:2])) in found]


def of_file(folder: Path, config: RunConfig) -> dict[str, str]:
    """Return where the run's `config.yaml` places the data, by path, where the weights' config differs."""
    try:
        data = config_file.read(folder / run_folder.CONFIG).data.get("data")
    except ConfigError:
        return {}
    own = config.data.arguments
    return {
        f"data.{name}": value
        for name, value in (data if isinstance(data, Mapping) else {}).items()
        if name in own and is_place(name, own[name]) and isinstance(value, str) and value != own[name]
    }


def hint(config: RunConfig) -> str:
    """Return what to do where a run's data isn't found; empty where no argument sets its place."""
    known = {k: v for k, v in config.data.arguments.items() if is_place(k, v) and isinstance(v, str)}
    if not known:
        return ""
    found = ", ".join(f"data.{name}: {value}" for name, value in known.items())
    option = shell_commands.setting(f"data.{next(iter(known))}", "PATH")
    return f"The data was expected at {found}; if it has moved, add {option}"
