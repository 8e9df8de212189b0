"""A study's file: the base run that it names is read into it, and `--set` reaches both."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

from lab.config import config_file
from lab.config.problems import ConfigError, Path, Problem, nearest
from lab.config.run_config import RunConfig
from lab.config.search_parameters import CategoricalParameter, IntParameter
from lab.config.search_space import KEY
from lab.store.paths import expanded, problem_of

BY_PATH = (KEY, "set")  # sections whose keys are dotted paths themselves
_WITHIN = {(), *((name,) for kind in (IntParameter, CategoricalParameter) for name in kind.model_fields)}


@dataclass
class StudyDocument(config_file.Document):
    """A study's file with its run inside.

    `run_source` is the run's own file, or empty where it has none. `run_unread`: it couldn't be read, as the
    problems say.
    """

    run_source: str = ""
    run_unread: bool = False

    def located(self, error: ConfigError) -> ConfigError:
        """The same problems with their places: the study's own, the run's, then those of `--set`.

        What was written in the run's own file has its path there.
        """
        problems = []
        for problem in error.problems:
            where = problem.where or self.where(problem.path)
            path = problem.path
            if path[:1] == ("run",) and self.run_source and where.startswith(f"{self.run_source}:"):
                path = path[1:]
            problems.append(replace(problem, path=path, where=where))
        return ConfigError(sorted(problems, key=self._order_of_files), error.note)

    def _order_of_files(self, problem: Problem) -> tuple[int, int, int]:
        override, line = self._order(problem)
        return override, int(not problem.where.startswith(f"{self.source}:")), line


def is_study(document: config_file.Document) -> bool:
    """Return whether a file is a study's, and not a run's."""
    return KEY in document.data or "study_name" in document.data


def expand(
    document: config_file.Document, overrides: Sequence[str], defaults: Mapping[str, object]
) -> StudyDocument:
    """Read the base run into a study's document, and lay `--set` over the whole.

    `--set run=FILE` takes another base run; `run.epochs`, `data.root`, `set.optimizer.lr` and
    `search_space.optimizer.lr.high` reach into it and into the study. That a run can't be read is
    added to the document's problems.
    """
    if isinstance(document, StudyDocument):
        return config_file.override(document, overrides, defaults, _place) if overrides else document
    # Another base run comes first: the other assignments may reach into it.
    whole = [text for text in overrides if text.partition("=")[0].strip() == "run"]
    document = config_file.override(document, whole, {})
    result = StudyDocument(**vars(document))
    if isinstance(result.data.get("run"), str):
        _read_run(result, result.data["run"])
    return config_file.override(result, [text for text in overrides if text not in whole], defaults, _place)


def _read_run(document: StudyDocument, name: str) -> None:
    """Put the run's own file in the place of its name."""
    where, document.run_unread = document.where(("run",)), True
    file = _find(document.source, name)
    if message := "" if os.path.exists(file) else problem_of(name):  # noqa: PTH110 - of a name that is too long
        document.problems.append(Problem(("run",), f"'{name}': {message}", where))
        return
    try:
        run = config_file.read(file)
    except ConfigError as error:
        document.problems += [
            each if _has_line(each.where) else Problem(("run",), f"{each.where}: {each.text}", where)
            for each in error.problems
        ]
        return
    if is_study(run):
        message = f"{run.source} is a study's file itself; name a run's"
        document.problems.append(Problem(("run",), message, where))
        return
    document.run_source, document.run_unread = run.source, False
    document.data["run"] = run.data
    document.origins |= {("run", *path): place for path, place in run.origins.items()}
    document.problems += run.problems


def _has_line(where: str) -> bool:
    return where.rpartition(":")[2].isdecimal()


def _find(source: str, name: str) -> FilePath:
    """Beside the study's file; else as seen from the current folder."""
    beside, here = FilePath(source).parent / name, FilePath(name)
    if name[:1] == "~" and not problem_of(name):
        return expanded(name)
    try:
        return here if here.is_file() and not beside.is_file() else beside
    except OSError:  # too long for a name, as reading it will say
        return beside


def _place(data: dict[str, object], path: Path, value: object, defaults: Mapping[str, object]) -> Path:
    """Set a value as `config_file.set_value` does, with a run's paths in the run and whole paths as keys.

    Raises:
        ConfigError: the path leads nowhere.
    """
    if path[0] == "data" and path[1:]:  # as the errors of data sources name it
        path = ("run", *path)
    section, rest = path[0], path[1:]
    inner = data.get(str(section))
    if section == "run" and rest and isinstance(inner, str):
        raise ConfigError([Problem(path, "can't be set, for the run couldn't be read")])
    if section == "run" and rest and isinstance(inner, dict):
        with ConfigError.within(("run",)):
            return ("run", *config_file.set_value(inner, rest, value, RunConfig.defaults()))
    if section in BY_PATH and rest and (inner is None or isinstance(inner, dict)):
        path = (section, *_whole_key(str(section), inner or {}, rest, value))
    return config_file.set_value(data, path, value, defaults)


def _whole_key(section: str, known: Mapping[object, object], rest: Path, value: object) -> Path:
    """`optimizer.lr.high` as the key `optimizer.lr` and what is below it; quoted keys stay as they are."""
    matching: list[tuple[int, str]] = []
    for key in known:
        own = config_file.split(str(key))
        if rest[0] == key:
            matching.append((1, str(key)))
        elif own and rest[: len(own)] == own:
            matching.append((len(own), str(key)))
    matching = [(n, key) for n, key in matching if section != KEY or rest[n : n + 1] in _WITHIN]
    if matching:
        length, key = max(matching)
        return (key, *rest[length:])
    name = ".".join(f"'{part}'" if "." in str(part) else str(part) for part in rest)
    if section == "set" or isinstance(value, dict):
        return (str(rest[0]),) if len(rest) == 1 else (name,)
    names = [f"{key}.{part}" for key, item in known.items() if isinstance(item, dict) for part in item]
    hint = nearest(name, names) or "; a new parameter is given whole, as {type: int, low: 1, high: 2}"
    message = f"there is no '{name}' to change{hint}"
    raise ConfigError([Problem((section,), message)])
