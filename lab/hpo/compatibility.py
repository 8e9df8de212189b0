"""Compatibility of a study's file with its trials: changes that keep it, and changes that need a new one.

Trials are compared with each other: by a sampler, by a pruner, by who reads the report. So everything that a
trial's value depends on stays, and everything else may change. That is the base run with all its defaults,
less what the search sets anyway and what `NO_MATTER` lists; and the space, which Optuna holds by name: it
takes wider bounds, and no other choices. Both sides are compared as storage keeps them: as JSON, and with
secrets hidden.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from optuna.trial import FrozenTrial
from pydantic import TypeAdapter, ValidationError

from lab.config import config_file
from lab.config.config_diff import MISSING, same
from lab.config.problems import ConfigError, Path, Problem, dotted
from lab.config.run_config import RunConfig
from lab.config.search_parameters import FloatParameter, IntParameter
from lab.config.search_space import KEY, Parameter, Space
from lab.config.validation import validate

CONFIG, BASE = "config", "base"  # a study's attributes: its file, and its base run with all defaults
Data = Mapping[str, Any]
# Paths of a run on which a trial's value doesn't hang, and why.
NO_MATTER: Mapping[str, str] = {
    "project": "only names a run",
    "name": "only names a run",
    "trackers": "mirrors what was measured",
    "pictures": "shows what was measured",
    "diagnostics": "only warns",
    "checkpoint": "says what is kept",
    "log_every_steps": "says what is shown",
    "device": "says where to compute: the same up to rounding",
    "threads": "says how fast to compute: the same up to rounding",
    "compile": "says how fast to compute: the same up to rounding",
    "channels_last": "says how fast to compute: the same up to rounding",
    "deterministic": "says whether repetitions agree in the last digit, too",
    "loader.workers": "says how fast samples are read: each has its own randomness",
    "loader.prefetch": "says how fast samples are read",
    "loader.pin_memory": "says how fast samples are read",
}
_LONGEST = 70  # characters of a value in a message


def refuse(
    stored: Data, wanted: Data, study_name: str, *, trials: Sequence[FrozenTrial] = (), fork: str = ""
) -> None:
    """Raise where old and new trials can't be compared.

    Args:
        stored: the study's attributes.
        wanted: what they would be by the file.
        trials: of the study, to say how many lie outside of narrower bounds.
        fork: the command that begins a study with those of its trials that still fit.

    Raises:
        ConfigError: with every difference, its path in the study's file, and the way out.
    """
    if not described(stored):
        message = (
            f"the database has a study '{study_name}' already, which this program did not make or can't read"
        )
        raise ConfigError([Problem(("study_name",), message)], "Take another study_name, or storage.")
    old, new = stored[CONFIG], wanted[CONFIG]
    names = {**old[KEY], **new[KEY]}
    always = {path_of(name) for name in names if not _when(old, name) and not _when(new, name)}
    of_the_run = run_problems(stored[BASE], wanted[BASE], always)
    problems = [
        *_space_problems(old[KEY], new[KEY], trials),
        *_grid_problems(old, new),
        *(_in_set(problem, new.get("set") or {}) for problem in of_the_run),
    ]
    if problems:
        note = (
            f"The study '{study_name}' has trials that were not made so. Undo the change, "
            f"or begin a study with those that still fit:\n  {fork or '--fork NAME'}\n"
            "or one without them: another study_name."
        )
        raise ConfigError(problems, note)


def described(attributes: Data) -> bool:
    """Return whether a study's attributes describe its file."""
    config, base = attributes.get(CONFIG), attributes.get(BASE)
    return isinstance(base, Mapping) and isinstance(config, Mapping) and isinstance(config.get(KEY), Mapping)


def read_space(config: Data) -> Space:
    """The space of a stored file.

    Raises:
        ConfigError: it can't be read.
    """
    try:
        parameters = TypeAdapter(dict[str, Parameter]).validate_python(config[KEY])
    except ValidationError as error:
        raise ConfigError([Problem((KEY,), f"can't be read: {error.error_count()} problems")]) from error
    return Space(parameters)


def path_of(name: str) -> tuple[str, ...]:
    """A parameter's path into the run, with list positions as text, as keys are in JSON."""
    return tuple(str(part) for part in config_file.split(name))


def run_problems(stored: Data, wanted: Data, searched: Collection[tuple[str, ...]] = ()) -> Iterator[Problem]:
    """Yield the differences of two runs that make their values incomparable; paths begin with `run`.

    Args:
        searched: paths that trials have values of their own for.
    """
    stored, wanted = _resolved(stored, wanted)
    but = {*searched, *(path_of(name) for name in NO_MATTER), *_unwatched(stored, wanted)}
    for path, mine, other in _differences(stored, wanted, (), but):
        yield Problem(("run", *path), versus(mine, other))


def versus(mine: Any, other: Any) -> str:
    """Contrast the study's value with the file's."""
    return f"the study has {text(mine)}, the file has {text(other)}"


def text(value: Any) -> str:
    """A value as JSON, cut where it is long."""
    if value is MISSING:
        return "nothing there"
    written = json.dumps(value, ensure_ascii=False, default=str)
    return written if len(written) <= _LONGEST else f"{written[: _LONGEST - 3]}..."


def _resolved(stored: Data, wanted: Data) -> tuple[Data, Data]:
    """Both with the defaults of this version; as they are where hidden secrets make one of them no run."""
    try:
        return validate(RunConfig, stored).as_data(), validate(RunConfig, wanted).as_data()
    except ConfigError:
        return stored, wanted


def _unwatched(*runs: Data) -> Iterator[tuple[str, ...]]:
    """Metrics that are written down only: no value and no decision depends on them."""
    watched = set()
    for run in runs:
        monitor = run.get("monitor") or {}
        objectives = [monitor, *(monitor.get("also") or ()), run.get("early_stopping_config") or {}]
        watched |= {each.get("metric") for each in objectives} | {(run.get("scheduler") or {}).get("monitor")}
    for name in {name for run in runs for name in run.get("metrics") or {}}:
        if not watched & {f"train_{name}", f"val_{name}"}:
            yield "metrics", name


def _differences(
    a: Any, b: Any, path: Path = (), but: Collection[tuple[str, ...]] = ()
) -> Iterator[tuple[Path, Any, Any]]:
    """(path, in a, in b) wherever two trees differ; another component or another length is one difference."""
    own = tuple(map(str, path))
    if own in but or same(a, b):
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if not same(a.get("target"), b.get("target")):
            yield (*path, "target"), a.get("target", MISSING), b.get("target", MISSING)
            return
        for key in {**a, **b}:
            yield from _differences(a.get(key, MISSING), b.get(key, MISSING), (*path, key), but)
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)) and len(a) == len(b) and (
        any(isinstance(item, (list, tuple, Mapping)) for item in a) or any(p[: len(own)] == own for p in but)
    ):  # fmt: skip
        for index, (mine, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(mine, other, (*path, index), but)
    else:
        yield path, a, b


def _in_set(problem: Problem, settings: Data) -> Problem:
    """At the setting of the study's file that brought the value in, where there is one."""
    path = problem.path[1:]
    for name in settings:
        own = path_of(name)
        if own == tuple(map(str, path[: len(own)])):
            return replace(problem, path=("set", name, *path[len(own) :]))
    return problem


def _when(config: Data, name: str) -> Mapping[str, Any]:
    return cast(Mapping[str, Any], (config[KEY].get(name) or {}).get("when") or {})


def _space_problems(old: Data, new: Data, trials: Sequence[FrozenTrial]) -> Iterator[Problem]:
    for name, parameter in new.items():
        if name not in old:
            yield Problem((KEY, name), "is not in the study, whose trials have not searched it")
        else:
            for path, message in _parameter_problems(name, old[name], parameter, trials):
                yield Problem((KEY, name, *path), message)
    for name in old:
        if name not in new:
            yield Problem((KEY, name), "is in the study, whose trials differ in it, and not in the file")


def _parameter_problems(
    name: str, old: Data, new: Data, trials: Sequence[FrozenTrial]
) -> Iterator[tuple[Path, str]]:
    if old.get("type") != new.get("type"):
        yield ("type",), versus(old.get("type"), new.get("type"))
        return
    if new.get("type") == "categorical":
        if message := _other_choices(old["choices"], new["choices"]):
            yield ("choices",), message
    else:
        for key in ("log", "step"):
            if not same(old.get(key), new.get(key)):
                yield (key,), versus(old.get(key), new.get(key))
        for path, message in _other_bounds(old, new):
            values = [trial.params[name] for trial in trials if name in trial.params]
            outside = sum(not new["low"] <= value <= new["high"] for value in values)
            found = f"; {outside} of {len(trials)} trials lie outside" if outside else ""
            yield path, f"{message}{found}"
    conditions = _conditions(old), _conditions(new)
    if not same(*conditions):
        yield ("when",), versus(old.get("when") or {}, new.get("when") or {})


def _conditions(parameter: Data) -> dict[str, list[str]]:
    """Return the values that each condition asks for, a single one as a list, in no particular order."""
    when = parameter.get("when") or {}
    wanted = {key: value if isinstance(value, (list, tuple)) else [value] for key, value in when.items()}
    return {key: sorted(map(text, values)) for key, values in wanted.items()}


def _other_bounds(old: Data, new: Data) -> Iterator[tuple[Path, str]]:
    """Bounds that are narrower, or that steps are counted from otherwise."""
    narrower = [key for key, sign in (("low", 1), ("high", -1)) if sign * new[key] > sign * old[key]]
    for key in narrower:
        yield (key,), f"{versus(old[key], new[key])}, which is narrower"
    if not narrower and new.get("step") is not None and same(old.get("step"), new["step"]):
        kind = IntParameter if new["type"] == "int" else FloatParameter
        parameter = kind.model_validate(new)
        try:
            parameter.label(old["low"])
        except ValueError:
            message = f"{versus(old['low'], new['low'])}: by steps of {new['step']} its values are others"
            yield ("low",), message


def _other_choices(old: Sequence[Any], new: Sequence[Any]) -> str:
    """Return the difference between two lists of choices; empty where there is none."""
    if same(old, new):
        return ""
    changed = [
        (mine, other)
        for mine, other in zip(old, new, strict=False)
        if isinstance(mine, Mapping) and isinstance(other, Mapping) and not same(mine, other)
        if same(mine.get("target"), other.get("target"))
    ]
    added = [c for c in new if not _among(c, [*old, *(other for _, other in changed)])]
    gone = [c for c in old if not _among(c, [*new, *(mine for mine, _ in changed)])]
    said = []
    for mine, other in changed:
        target = str(mine.get("target", "")).rpartition(".")[2]
        said += [
            f"{target}, {dotted(path)}: {versus(a, b)}" if path else versus(a, b)
            for path, a, b in _differences(mine, other)
        ]
    said += [f"the file adds {', '.join(map(text, added))}"] if added else []
    said += [f"the file lacks {', '.join(map(text, gone))}"] if gone else []
    return "; ".join(said) or f"{versus(old, new)}: another order, which Optuna takes for other choices"


def _among(choice: Any, choices: Sequence[Any]) -> bool:
    return any(same(choice, other) for other in choices)


def _grid_problems(old: Data, new: Data) -> Iterator[Problem]:
    """A grid numbers its points: with others in front, some are done twice and some never."""
    if not _is_grid(new):
        return
    if not _is_grid(old):
        yield Problem(("sampler", "target"), "a grid would not know which of its points the study has tried")
        return
    for name, parameter in new[KEY].items():
        mine = old[KEY].get(name) or {}
        for key, sign in (("low", 1), ("high", -1)):
            if key in mine and key in parameter and sign * parameter[key] < sign * mine[key]:
                message = f"{versus(mine[key], parameter[key])}, and a grid would number its points anew"
                yield Problem((KEY, name, key), message)


def _is_grid(config: Data) -> bool:
    target = (config.get("sampler") or {}).get("target")
    return isinstance(target, str) and target.rpartition(".")[2] == "GridSampler"
