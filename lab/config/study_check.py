"""A study checked before its first trial: each corner of its space as a run, the sampler, the pruner."""

import inspect
import itertools
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from lab.config import enqueued_trials
from lab.config.component_spec import Look, Spec
from lab.config.config_diff import is_component, same
from lab.config.constraints import KEY as CONSTRAINTS
from lab.config.import_policy import closed_in
from lab.config.import_target import is_library, resolve
from lab.config.problems import ConfigError, Path, Problem, ProblemKind, dotted, shown
from lab.config.run_config import MORE, RunConfig
from lab.config.search_parameters import CategoricalParameter, lookup
from lab.config.search_space import KEY, Corner
from lab.config.signatures import signature_of
from lab.config.validation import validate

# Arguments of samplers that the study gives.
_GIVEN = {
    "seed": "is derived from the study's seed; set that, and remove it here",
    "search_space": "is the study's own; remove it here",
}


class Study(enqueued_trials.Study, Protocol):
    """The part of a study's config that is checked."""

    @property
    def base(self) -> RunConfig: ...
    @property
    def sampler(self) -> Spec: ...
    @property
    def pruner(self) -> Spec | None: ...
    @property
    def monitors(self) -> Sequence[object]: ...
    def trial_config(self, values: Mapping[str, object]) -> RunConfig: ...
    def in_base(self, problem: Problem) -> Problem: ...


def shapes_of(config: Study) -> tuple[list[Problem], str]:
    """The problems found before anything is imported, and a note on what has not been checked yet."""
    return _Corners(config).shapes(), MORE


def problems_of(config: Study) -> tuple[list[Problem], str]:
    """All problems, with paths into the study's data, and a note on what has not been checked yet."""
    corners = _Corners(config)
    if shapes := corners.shapes():  # reported before torch is loaded
        return shapes, MORE
    # Functions are imported last, since their modules may load torch.
    functions = list(_of_functions(config, lambda spec: spec.check("values")))
    if not functions and config.feasibility.functions:
        with ConfigError.collected(functions):
            functions += config.feasibility.nowhere() or enqueued_trials.infeasible_points(config)
    problems = [*corners.check(), *_sampler_problems(config), *_pruner_problems(config), *functions]
    return list(dict.fromkeys(problems)), ""


class _Corners:
    """The runs at the corners of the space; `problems` are those of their values."""

    def __init__(self, config: Study) -> None:
        self.config = config
        self.runs: list[tuple[Corner, RunConfig]] = []
        found: dict[Problem, None] = {}
        corners = config.space.corners()
        for corner in corners:
            try:
                self.runs.append((corner, config.trial_config(corner.values)))
            except ConfigError as error:
                if corner.pool:
                    corners += config.space.apart(corner)
                    continue
                if _never(config, corner):
                    continue
                found |= dict.fromkeys(self._blamed(corner, problem) for problem in error.problems)
        self.problems = list(found)

    def shapes(self) -> list[Problem]:
        """Problems found without imports: by the corners' values, the words of import paths, and sources."""
        own: dict[object, object] = {
            name: part.model_dump() for name in ("sampler", "pruner") if (part := getattr(self.config, name))
        }
        closed = [*closed_in(own), *_of_functions(self.config, lambda spec: closed_in(spec.model_dump()))]
        found = self.problems or [*self._found(RunConfig.early_problems), *(closed or _misnamed(self.config))]
        if found or self.config.feasibility.functions:
            return found
        return self.config.feasibility.nowhere()

    def check(self) -> list[Problem]:
        """Import paths and arguments, against the real signatures."""
        return self._found(_problems)

    def _found(self, problems_of_run: Callable[[RunConfig], list[Problem]]) -> list[Problem]:
        """The problems of all corners, each at what brought it in."""
        # A problem of the base run is reported there, and not at each corner.
        base = {_cause(self.config.base, p) for p in problems_of_run(self.config.base)}
        found: dict[Problem, None] = {}
        failing: dict[str, list[Corner]] = {}
        runs = list(self.runs)
        for corner, run in runs:
            problems = problems_of_run(run)
            if corner.pool and not base.issuperset(_cause(run, problem) for problem in problems):
                apart = self.config.space.apart(corner)
                runs += [(each, self.config.trial_config(each.values)) for each in apart]
                continue
            for problem in problems:
                if _cause(run, problem) in base:
                    found[self.config.in_base(problem)] = None
                    continue
                blamed = self._blamed(corner, problem)
                found[blamed] = None
                failing.setdefault(str(blamed.path[1]), []).append(corner)
        return [self._with_hint(problem, failing) for problem in found]

    def _blamed(self, corner: Corner, problem: Problem) -> Problem:
        """The problem at the parameter that brought it in."""
        space, path, kind = self.config.space, problem.path, problem.kind
        owner = space.owner(path)
        if owner in corner.values:
            assert owner is not None
            rest = path[len(space.path(owner)) :]
            part = () if not rest and kind.is_of_a_name else self._part(owner, corner)
            return replace(problem, path=(KEY, owner, *part, *rest))
        shared = {name: _shared(space.path(name), path) for name in corner.values}
        most = max(shared.values())
        near = [name for name, length in shared.items() if length == most]
        name = str(corner.at[0]) if corner.at[0] in near else near[0]
        on_the_way = most and space.path(name)[: len(path)] == path
        if on_the_way and (kind is ProblemKind.NO_SUCH_PART or kind.is_of_a_name):
            return replace(problem, path=(KEY, name))
        place = f"{dotted(path)}: " if path else ""
        part = () if kind is ProblemKind.MISSING_KEY else self._part(name, corner)
        return replace(problem, path=(KEY, name, *part), message=f"{place}{problem.message}")

    def _part(self, name: str, corner: Corner) -> Path:
        """The choice or bound of a parameter at the corner, as a path."""
        parameter, value = self.config.space.parameters[name], corner.values[name]
        if isinstance(parameter, CategoricalParameter):
            return ("choices", next(i for i, choice in enumerate(parameter.choices) if same(choice, value)))
        return ("low",) if value == parameter.low else ("high",)

    def _with_hint(self, problem: Problem, failing: Mapping[str, list[Corner]]) -> Problem:
        """Advise a condition for a parameter that fits only some choices of its component."""
        name = str(problem.path[1]) if problem.path[0] == KEY else ""
        switch = self._switch(name)
        if switch is None or len(problem.path) > 3:
            return problem
        other, key = switch
        bad = [_target(corner.values.get(other)) for corner in failing[name]]
        good = [_target(corner.values.get(other)) for corner, _ in self.runs if name in corner.values]
        fitting = [target for target in dict.fromkeys(good) if target and target not in bad]
        if not fitting:
            return problem
        wanted = fitting[0] if len(fitting) == 1 else f"[{', '.join(fitting)}]"
        return replace(problem, hint=f"; add when: {{{key}: {wanted}}}")

    def _switch(self, name: str) -> tuple[str, str] | None:
        """The parameter that chooses the component in which another is: (its name, a condition's key)."""
        space = self.config.space
        if name not in space.parameters:
            return None
        choosing = {
            space.path(other): other
            for other, parameter in space.parameters.items()
            if other != name and isinstance(parameter, CategoricalParameter)
        }
        path = space.path(name)
        for end in range(len(path) - 1, 0, -1):
            if other := choosing.get(path[:end]):
                return other, f"{other}.target"
            if other := choosing.get((*path[:end], "target")):
                return other, other
        return None


def _cause(run: RunConfig, problem: Problem) -> tuple[Path, ProblemKind, str]:
    """The place, kind and values of a problem, which are equal where two runs have the same one."""
    data = run.as_data()
    found = [lookup(data, problem.path[:end])[1] for end in range(len(problem.path) + 1)]
    components = [part["target"] for part in found if isinstance(part, Mapping) and "target" in part]
    value = found[-1] if problem.kind is ProblemKind.VALUE else None
    return problem.path, problem.kind, repr((components[-1:], value))


def _never(config: Study, corner: Corner) -> bool:
    """Return whether a constraint keeps the study away from a corner."""
    if not config.feasibility or config.feasibility.functions:
        return False  # functions are not imported yet
    return config.feasibility.violated(corner.values) is not None


def _of_functions(config: Study, problems_of: Callable[[Spec], Iterable[Problem]]) -> Iterator[Problem]:
    """The problems of the constraints that are functions."""
    for index, spec in config.feasibility.functions:
        yield from (problem.below((CONSTRAINTS, index)) for problem in problems_of(spec))


def _problems(run: RunConfig) -> list[Problem]:
    with ConfigError.collected() as problems:
        run.check()
    return problems


def _shared(a: Path, b: Path) -> int:
    """The number of leading parts that two paths have in common."""
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False))))


def _target(choice: object) -> str | None:
    target = choice.get("target") if isinstance(choice, Mapping) else choice
    return target if isinstance(target, str) else None


def _misnamed(config: Study) -> list[Problem]:
    """Problems of the sampler and the pruner that their sources show."""
    if "torch" in sys.modules:  # then the check of the real signatures is as fast
        return []
    from lab.config.signature_stubs import look

    problems: list[Problem] = []
    given: dict[str, dict[str, object]] = {
        "sampler": {"seed": 0, "search_space": {}},
        "pruner": {"epochs": config.base.epochs},
    }
    for name, known in given.items():
        spec: Spec | None = getattr(config, name)
        if spec is not None:
            full = validate(Spec, _completed(spec.model_dump(), known, look))
            found = _bare(spec.model_dump(), name) or full.check(look=look)
            problems += [problem.below((name,)) for problem in found]
    return problems


def _sampler_problems(config: Study) -> Iterator[Problem]:
    from optuna.samplers import BaseSampler, BruteForceSampler, CmaEsSampler, GridSampler

    given = {"seed": 0, "search_space": {"x": [0]}}
    found = [*_taken(config.sampler.model_dump()), *_component_problems(config.sampler, BaseSampler, given)]
    yield from (problem.below(("sampler",)) for problem in found)
    try:
        kind = config.sampler.resolve()
    except ConfigError:
        return  # reported already
    if not inspect.isclass(kind):
        return
    if issubclass(kind, GridSampler):
        with ConfigError.collected() as unlisted:
            config.space.grid()
        yield from unlisted
    elif issubclass(kind, BruteForceSampler):
        for name, parameter in config.space.parameters.items():
            if parameter.count is None:
                message = "brute force needs a finite number of values; give it a step, or choices"
                yield Problem((KEY, name), message)
    if issubclass(kind, CmaEsSampler) and len(config.monitors) > 1:
        message = (
            f"{kind.__name__} takes one objective, and the monitor has {len(config.monitors)}; "
            "take TPESampler, GPSampler or NSGAIISampler of optuna.samplers"
        )
        yield Problem(("sampler", "target"), message)


def _taken(sampler: Mapping[str, object]) -> Iterator[Problem]:
    """Arguments of a sampler, or of one within it, that the study gives."""
    for path, part in _with_inner(sampler, "sampler"):
        for name in part if isinstance(part, Mapping) else ():
            if name in _GIVEN:
                yield Problem((*path, name), _GIVEN[name])


def _pruner_problems(config: Study) -> Iterator[Problem]:
    if config.pruner is not None:
        from optuna.pruners import BasePruner

        found = _component_problems(config.pruner, BasePruner, {"epochs": config.base.epochs})
        yield from (problem.below(("pruner",)) for problem in found)


def _component_problems(spec: Spec, base: type, given: Mapping[str, object]) -> Iterator[Problem]:
    """Problems of a sampler or a pruner; it is built once, as many check their arguments only then."""
    full = validate(Spec, _completed(spec.model_dump(), given))
    data = spec.model_dump()
    problems = [*_of_another_kind(data, base), *_bare(data, _word(base)), *full.check()]
    # One problem at a place: the first, which is the most specific.
    problems = list({problem.path: problem for problem in reversed(problems)}.values())[::-1]
    yield from problems
    if not problems and (is_library(kind := spec.resolve()) or kind.__module__.startswith("lab.")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it is experimental
                full.build()
        except ConfigError as error:
            yield from error.problems


def _of_another_kind(value: Mapping[str, Any], base: type) -> Iterator[Problem]:
    """A sampler or pruner, and those within it, that is none."""
    name = f"{base.__module__.rpartition('.')[0]}.{base.__name__}"
    for path, part in _with_inner(value, _word(base)):
        if not is_component(part):
            continue
        try:
            kind = resolve(part["target"])
        except ConfigError:
            continue  # reported with the arguments
        if not inspect.isclass(kind) or not issubclass(kind, base) or inspect.isabstract(kind):
            message = f"found {part['target']}, expected a class that derives from {name}"
            yield Problem((*path, "target"), message)


def _bare(value: Mapping[str, object], word: str) -> list[Problem]:
    """Samplers or pruners within one that are written as an import path alone."""
    return [
        Problem(path, f"found {shown(part)}, expected a mapping: {{target: {part}}}")
        for path, part in _with_inner(value, word)
        if isinstance(part, str)
    ]


def _with_inner(value: object, word: str, path: Path = ()) -> Iterator[tuple[Path, object]]:
    """A sampler or pruner, and what stands for another one within it, at any depth, with its path."""
    yield path, value
    for name, part in value.items() if isinstance(value, Mapping) else ():
        if name.endswith(word):
            yield from _with_inner(part, word, (*path, name))


def _word(base: type) -> str:
    """`sampler` for BaseSampler."""
    return base.__name__.removeprefix("Base").lower()


def _completed(value: object, given: Mapping[str, object], look: Look = resolve) -> Any:
    """The component, and those within, with what a study gives them."""
    if isinstance(value, (list, tuple)):
        return [_completed(item, given, look) for item in value]
    if not isinstance(value, Mapping):
        return value
    result = {key: _completed(item, given, look) for key, item in value.items()}
    if is_component(value):
        try:
            found = look(value["target"])
            known = signature_of(found).parameters if found is not None else {}
        except (ConfigError, ValueError, TypeError):
            return result
        result = {key: item for key, item in result.items() if key not in _GIVEN or key not in given}
        result |= {key: item for key, item in given.items() if key in known and key not in result}
    return result
