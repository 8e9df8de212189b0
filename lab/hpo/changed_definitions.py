"""Objectives whose definition is another one than that of a study's trials, which then can't be compared."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lab.config.problems import ConfigError, Problem
from lab.store.definitions import FIRST, LOSS, Definition, has_versions, logged, of_value, watched

if TYPE_CHECKING:
    from lab.config.optimize_config import OptimizeConfig
    from lab.config.run_config import RunConfig

DEFINITIONS = "definitions"
"""A study's attribute: the newest definition that its trials may have. None recorded: `FIRST`."""


def newest_of(attributes: Mapping[str, Any]) -> int:
    """The newest definition that the trials of a study may have, by its attributes."""
    found = attributes.get(DEFINITIONS)
    return found if isinstance(found, int) else FIRST


def problems_of(config: "OptimizeConfig", newest: int) -> list[Problem]:
    """The values that decide something in the study's trials and have a definition newer than `newest`.

    It imports torch and, where a definition may depend on the data, builds that once.

    Raises:
        ConfigError: the data, a metric or the loss can't be built.
    """
    runs = [config.base, *_corners(config)]
    if not any(_may_have_changed(run) for run in runs):
        return []
    from lab.train.data_definitions import definitions_with

    first = config.base.with_values(next(iter(config.base.repeats.values())))
    sets = first.create_data()
    facts = sets[3] if isinstance(sets, tuple) and len(sets) > 3 else {}
    found: dict[str, Problem] = {}
    for run in runs:
        described = definitions_with(sets[1], run.create_criterion(facts), run.create_metrics(facts))
        for name, new in _newer(run, described, newest):
            reason = f": {new.reason}" if new.reason else ""
            message = (
                f"the study's trials have {name} by definition {newest} or older, and this program computes "
                f"definition {new.number}{reason}"
            )
            found.setdefault(name, Problem(("run", "monitor", "metric"), message))
    return list(found.values())


def _newer(
    run: "RunConfig", described: Mapping[str, Definition], newest: int
) -> Iterator[tuple[str, Definition]]:
    known = {name: each.number for name, each in described.items()}
    for name in watched(run.as_data()):
        if of_value(name, known) > newest:
            yield name, described.get(logged(name)) or described[LOSS]


def _corners(config: "OptimizeConfig") -> Iterator["RunConfig"]:
    """The runs at the corners of the space that have another loss or other metrics than the base run."""
    seen = [(config.base.criterion, config.base.metrics)]
    for corner in config.space.corners():
        try:
            run = config.trial_config(corner.values)
        except ConfigError:
            continue  # no trial is made there
        if (run.criterion, run.metrics) not in seen:
            seen.append((run.criterion, run.metrics))
            yield run


def _may_have_changed(run: "RunConfig") -> bool:
    """Return whether a value that decides something comes from a class that has had several definitions."""
    specs = {LOSS: run.criterion, **run.metrics}
    names = (logged(name) for name in watched(run.as_data()))
    parts = (specs.get(LOSS if name.startswith(f"{LOSS}_") else name) for name in names)
    return any(spec is not None and has_versions(spec.resolve()) for spec in parts)
