"""Selection of a study's trials for its fork: those that the fork could have proposed itself.

A trial is its base run with its values in place. The new study is asked for the point at which its own base
run would become the same one: where a parameter was added, the value that the trial had anyway; where one was
removed, the value that the file has now. So a choice is found again by what it is and not by its label, and
what the search doesn't set has to agree. As in `compatibility`, both sides are data of the storage.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lab.config import config_file
from lab.config.categorical_choices import Label
from lab.config.config_diff import same
from lab.config.group_split_rule import recorded
from lab.config.problems import ConfigError, dotted
from lab.config.run_config import RunConfig
from lab.config.search_parameters import CategoricalParameter, lookup
from lab.config.search_space import Space
from lab.config.validation import validate
from lab.hpo.compatibility import BASE, CONFIG, Data, path_of, read_space, run_problems
from lab.hpo.trial_states import VIOLATED
from lab.report.trial_attributes import TrialAttributes

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


class _Unfit(Exception):
    """The trial is no trial of the new study; the message says why, alike for all with the same reason."""


class Fork:
    """The finished trials of a study, as another one has them.

    Args:
        name: of the old study.
        old: its attributes.
        new: those of the other.
        space: the other's.
        redefined: the difference in what the objectives mean; with one no trial fits.

    Attributes:
        trials: those that fit, ready to be added; `forked_from` says where they are from.
        reasons: how many of the others don't fit for what.
        group_rule: the rule by which the data of all of them was cut.
    """

    def __init__(
        self,
        name: str,
        old: Data,
        trials: Sequence[FrozenTrial],
        new: Data,
        space: Space,
        redefined: str = "",
    ) -> None:
        self._name, self._old, self._new, self._space = name, old[BASE], new[BASE], space
        self.group_rule = recorded(old)
        self.trials: list[FrozenTrial] = []
        self.reasons: Counter[str] = Counter()
        finished = [trial for trial in trials if trial.state in _FINISHED]
        if redefined:
            self._all(finished, redefined)
            return
        try:
            self._spaces = read_space(old[CONFIG]), read_space(new[CONFIG])
        except ConfigError as error:
            self._all(finished, f"a search space can't be compared: {error.problems[0]}")
            return
        searched = {path_of(parameter) for each in self._spaces for parameter in each.parameters}
        problem = next(run_problems(self._old, self._new, searched), None)
        if problem is not None:
            self._all(finished, str(problem))
            return
        for trial in finished:
            try:
                self.trials.append(self._moved(trial))
            except _Unfit as reason:
                self.reasons[str(reason)] += 1

    def summary(self) -> str:
        """One sentence for the console."""
        total, left = len(self.trials) + self.reasons.total(), self.reasons.total()
        if total == 0:
            return f"the study '{self._name}' has no finished trials"
        verb = "fits and is" if len(self.trials) == 1 else "fit and are"
        said = (
            f"{len(self.trials)} of {total} finished trials of '{self._name}' {verb} known to the new study"
        )
        why = ", ".join(f"{count} for {reason}" for reason, count in self.reasons.most_common())
        return f"{said}; {left} do{'es' if left == 1 else ''} not: {why}" if left else said

    def _all(self, finished: Sequence[FrozenTrial], reason: str) -> None:
        if finished:
            self.reasons[reason] = len(finished)

    def _moved(self, trial: FrozenTrial) -> FrozenTrial:
        values = self._old_values(trial)
        run = _with(self._old, values)
        params, found = self._params(values, run)
        problem = next(run_problems(run, _with(self._new, found)), None)
        if problem is not None:
            raise _Unfit(f"another {dotted(problem.path[1:])}")
        origin = TrialAttributes(forked_from=f"{self._name} {trial.number}")
        moved = copy.copy(trial)
        moved.params = params
        moved.distributions = {name: self._space.parameters[name].distribution() for name in params}
        moved.user_attrs = {**origin.stored(), **trial.user_attrs}  # a fork's fork: where its folder is
        # No more of it: the rest is what a sampler or pruner of the old study noted for itself.
        moved.system_attrs = {name: value for name, value in trial.system_attrs.items() if name == VIOLATED}
        return moved

    def _old_values(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the chosen values by the old study's file; choices by position, labels may hold secrets."""
        chosen: dict[str, Any] = {}
        space, _ = self._spaces
        for name in space.order:
            if not space.active(name, chosen):
                continue
            if name not in trial.params:
                raise _Unfit(f"no value of {name}")
            value, parameter = trial.params[name], space.parameters[name]
            if isinstance(parameter, CategoricalParameter):
                index = int(trial.distributions[name].to_internal_repr(value))
                if index >= len(parameter.choices):
                    raise _Unfit(f"a choice of {name} that its file didn't have")
                value = parameter.choices[index]
            chosen[name] = value
        return chosen

    def _params(self, values: Mapping[str, Any], run: Data) -> tuple[dict[str, Label], dict[str, Any]]:
        """The point in the new space: as Optuna stores it, and by path."""
        params: dict[str, Label] = {}
        chosen: dict[str, Any] = {}
        _, space = self._spaces
        for name in space.order:
            if not space.active(name, chosen):
                continue
            there, value = (True, values[name]) if name in values else lookup(run, space.path(name))
            if not there:
                raise _Unfit(f"no value of {name}")
            parameter, real = space.parameters[name], self._space.parameters[name]
            if isinstance(parameter, CategoricalParameter) and isinstance(real, CategoricalParameter):
                index = next((i for i, choice in enumerate(parameter.choices) if same(choice, value)), None)
                if index is None:
                    raise _Unfit(f"a choice of {name} that isn't there")
                params[name] = real.labels[index]
            else:
                try:
                    params[name] = parameter.label(value)
                except ValueError:
                    raise _Unfit(f"a value of {name} out of range") from None
            chosen[name] = value
        return params, chosen


def _with(base: Data, values: Mapping[str, Any]) -> Data:
    """A run's data with values by path; resolved, so that what is written otherwise is the same."""
    data: dict[str, Any] = copy.deepcopy(dict(base))
    for name, value in values.items():
        try:
            config_file.set_value(data, config_file.split(name), copy.deepcopy(value), {})
        except ConfigError as error:
            raise _Unfit(f"values that make no run: {error.problems[0]}") from error
    try:
        return validate(RunConfig, data).as_data()
    except ConfigError:
        return data  # hidden secrets may make it none
