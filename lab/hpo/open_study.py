"""Open a study by its file: create it, fork it, or continue it where the search is still the same."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.study import StudyDirection

from lab.config import wandb_environment
from lab.config.config_diff import same
from lab.config.group_split_rule import GroupRule, as_record, recorded
from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import ConfigError, Problem, did_you_mean
from lab.config.search_space import KEY
from lab.config.validation import validate
from lab.console import shell_commands
from lab.hpo import compatibility, forkserver, queries
from lab.hpo import study_id as identity
from lab.hpo.changed_definitions import DEFINITIONS
from lab.hpo.compatibility import BASE, CONFIG
from lab.hpo.fork import Fork
from lab.hpo.optuna_internals import study_id
from lab.hpo.storage import Database, shown_url
from lab.hpo.study_id import identify, refuse_foreign
from lab.report.trial_attributes import TrialAttributes
from lab.store.definitions import CURRENT
from lab.store.redact import redact, redact_arguments

_SOURCE = "forked_from"  # attribute of a fork: the study that it was made from
_COPIED = "forked_trials"  # attribute of a fork: how many trials it was given, once it has them all


def open_study(config: OptimizeConfig, database: Database, folder: Path | None = None) -> optuna.Study:
    """Make the study, or load it and compare the file with what it was made from.

    Args:
        folder: of the study; it is the study's from then on.

    Raises:
        ConfigError: the file has changed so that old and new trials can't be compared, or the folder is
            another study's.
    """
    with database.exclusive(config.study_name):
        study = _load(config.study_name, database)
        if folder is not None:
            with _located(config):
                refuse_foreign(folder, study, database.url)
        return _opened(config, database, study, folder, GroupRule.NEAREST)


def settled(config: OptimizeConfig, database: Database) -> OptimizeConfig:
    """A study's config with what its beginning, or else the environment, sets for W&B.

    Raises:
        ConfigError: a variable holds what W&B doesn't know.
    """
    with _located(config):
        if problems := [config.in_base(problem) for problem in wandb_environment.problems_of(config.base)]:
            raise ConfigError(problems)
    study = _load(config.study_name, database)
    recorded = {} if study is None else study.user_attrs.get(BASE) or {}
    values = wandb_environment.values_of(config.base, recorded, wandb_environment.FIELDS_OF_STUDY)
    return config.with_run_values(values) if values else config


def refuse_lost(folder: Path, config: OptimizeConfig) -> None:
    """Refuse to make a database again while the folder holds trials of one that is gone.

    Raises:
        ConfigError: it does.
    """
    with _located(config):
        identity.refuse_lost(folder, config.storage)


def renamed(config: OptimizeConfig, name: str) -> OptimizeConfig:
    """The same study's file for its fork.

    Raises:
        ConfigError: it can't have this name.
    """
    try:
        validate(OptimizeConfig, {**config.as_data(), "study_name": name})
    except ConfigError as error:
        problems = [replace(problem, path=(), where=f"--fork {name}") for problem in error.problems]
        raise ConfigError(problems) from None
    if name == config.study_name:
        message = "is the study's own name; give the new study another"
        raise ConfigError([Problem((), message, f"--fork {name}")])
    return config.model_copy(update={"study_name": name})


def fork_study(
    config: OptimizeConfig,
    source: str,
    database: Database,
    on_message: Callable[[str], None],
    folder: Path | None = None,
) -> optuna.Study:
    """Begin a study that knows the trials of another which still fit, or continue one that was begun so.

    Killed in the middle and repeated, it has each of them once.

    Args:
        config: of the new study.
        source: the name of the other.
        on_message: receives how many fit, and why the others don't.
        folder: of the new study.

    Raises:
        ConfigError: there is no such study, or the new name or the folder is another's, or the file has
            changed since the fork was begun.
    """
    name = config.study_name
    study = _load(name, database)
    fork = None if study is not None and _COPIED in study.user_attrs else _fork(config, source, database)
    with database.exclusive(name):
        study = _load(name, database)
        if study is not None and study.user_attrs.get(_SOURCE) != source and not _is_blank(study):
            message = f"there is a study '{name}' already, and it is no fork of '{source}'; take another name"
            raise ConfigError([Problem((), message, f"--fork {name}")])
        if folder is not None:
            try:
                refuse_foreign(folder, study, database.url)
            except ConfigError as error:
                found = [replace(problem, path=(), where=f"--fork {name}") for problem in error.problems]
                raise ConfigError(found) from None
        study = study or _create(config, database)
        study.set_user_attr(_SOURCE, source)
        # With trials of another study it has to have that study's cut; else it starts from scratch.
        rule = fork.group_rule if fork is not None and fork.trials else GroupRule.NEAREST
        study = _opened(config, database, study, folder, rule)
        if fork is None or _COPIED in study.user_attrs:
            return study
        there = {TrialAttributes.of(trial).forked_from for trial in study.get_trials(deepcopy=False)}
        study.add_trials(t for t in fork.trials if TrialAttributes.of(t).forked_from not in there)
        study.set_user_attr(_COPIED, len(fork.trials))
    on_message(fork.summary())
    return study


def description(config: OptimizeConfig) -> dict[str, Any]:
    """Return the stored description of a study: its file, and the base run with all defaults.

    Without secrets; but a parameter is none for its name, and its choices have to be known.
    """
    data = config.as_data()
    space = {
        name: {
            key: redact({"choices": value})["choices"] if key == "choices" else value
            for key, value in parameter.items()
        }
        for name, parameter in data[KEY].items()
    }
    whole = {
        CONFIG: {**redact(data), KEY: space},
        BASE: redact(config.base.as_data()),
        DEFINITIONS: CURRENT,
        "versions": {name: version(name) for name in ("torch", "optuna")},
    }
    result: dict[str, Any] = json.loads(json.dumps(whole, default=str))
    return result


def _load(name: str, database: Database) -> optuna.Study | None:
    try:
        return optuna.load_study(study_name=name, storage=database.storage)
    except KeyError:
        return None


def _create(config: OptimizeConfig, database: Database) -> optuna.Study:
    return optuna.create_study(
        study_name=config.study_name, storage=database.storage, directions=_directions(config)
    )


def _directions(config: OptimizeConfig) -> list[StudyDirection]:
    modes = [monitor.mode for monitor in config.monitors]
    return [StudyDirection.MINIMIZE if mode == "min" else StudyDirection.MAXIMIZE for mode in modes]


def _is_blank(study: optuna.Study) -> bool:
    """Return whether its creator died before it stored the description. Requires the study's lock."""
    return not compatibility.described(study.user_attrs) and not study.get_trials(deepcopy=False)


def _opened(
    config: OptimizeConfig,
    database: Database,
    study: optuna.Study | None,
    folder: Path | None,
    rule: GroupRule,
) -> optuna.Study:
    """The study, described by the file; new where there is none, and then with this rule of its groups."""
    study = study or _create(config, database)
    if compatibility.described(study.user_attrs):
        rule = recorded(study.user_attrs)
    wanted = {**as_record(rule), **description(config)}  # the rule first: without one, a study has the old
    if not (_is_blank(study) and study.directions == _directions(config)):
        trials = study.get_trials(deepcopy=False)
        command = _fork_command(config, database)
        with _located(config):
            compatibility.refuse(study.user_attrs, wanted, study.study_name, trials=trials, fork=command)
            _refuse_redefined(config, study, command)
            _align(config, database, study, command)
    if folder is not None:
        identify(folder, study)
    if {name: study.user_attrs.get(name) for name in wanted} != wanted:
        for name, value in wanted.items():
            study.set_user_attr(name, value)
    return study


def _refuse_redefined(config: OptimizeConfig, study: optuna.Study, command: str) -> None:
    """Refuse to continue where an objective means something else than in the trials that are there.

    Raises:
        ConfigError: one does; a fork is named.
    """
    trials = study.get_trials(deepcopy=False)
    valued = any(trial.values or trial.intermediate_values for trial in trials)
    if valued and (problems := forkserver.redefined(config, study.user_attrs)):
        note = (
            f"The trials of '{study.study_name}' can't be compared with new ones. Begin a study without "
            f"them:\n  {command}"
        )
        raise ConfigError(problems, note)


def _align(config: OptimizeConfig, database: Database, study: optuna.Study, command: str) -> None:
    """Give the trials' parameters the file's bounds, where these are wider, and its names of the choices.

    For Optuna a parameter whose bounds vary among trials is none that they share: GP, CMA-ES, NSGA-II and a
    multivariate TPE would draw it at random from then on, and a quasi-random sequence keep to the old bounds.
    """
    own = study_id(study)
    with database.engine.connect() as connection:
        found = connection.execute(queries.distributions(own)).all()
    wider = []
    for name, written in found:
        if name not in config.search_space:
            continue
        old, new = json_to_distribution(written), config.search_space[name].distribution()
        renamed = _renamed(old, new)
        try:
            if not renamed:
                check_distribution_compatibility(old, new)
        except ValueError as error:
            problem = Problem((KEY, name), f"trials of the study hold it otherwise: {error}")
            raise ConfigError([problem], f"A fork can define it anew:\n  {command}") from None
        if (renamed or _holds(new, old)) and old != new:
            wider.append(queries.replace_distribution(own, name, written, distribution_to_json(new)))
    if wider:
        with database.engine.begin() as connection:
            for statement in wider:
                connection.execute(statement)
        database.history.forget(own)


def _holds(new: BaseDistribution, old: BaseDistribution) -> bool:
    """Return whether all numbers of the old bounds lie within the new ones."""
    numbers = (FloatDistribution, IntDistribution)
    return (
        isinstance(new, numbers) and isinstance(old, numbers) and new.low <= old.low and old.high <= new.high
    )


def _renamed(old: BaseDistribution, new: BaseDistribution) -> bool:
    """Return whether the choices are the same, but for import paths of earlier versions."""
    if not (isinstance(old, CategoricalDistribution) and isinstance(new, CategoricalDistribution)):
        return False
    return same(old.choices, new.choices)


def _fork(config: OptimizeConfig, source: str, database: Database) -> Fork:
    study = _load(source, database)
    if study is None or not compatibility.described(study.user_attrs):
        known = [name for name in _names(database) if name != source]
        message = f"{shown_url(database.url)} has no study '{source}' of this program to fork"
        with _located(config):
            raise ConfigError([Problem(("study_name",), message + did_you_mean(source, known))])
    trials = study.get_trials(deepcopy=False)
    redefined = "; ".join(problem.text for problem in forkserver.redefined(config, study.user_attrs))
    return Fork(source, study.user_attrs, trials, description(config), config.space, redefined)


def _fork_command(config: OptimizeConfig, database: Database) -> str:
    """The command that forks the file's study under the first free name."""
    document = config._document
    source, overrides = ("FILE", []) if document is None else (document.source, document.overrides)
    stem, taken = (config.study_name if document is None else document.data["study_name"]), _names(database)
    name = next(free for number in count(2) if (free := f"{stem}-{number}") not in taken)
    settings = [part for text in overrides for part in text.split(" ", 1)]
    arguments = ["--optimize", source, *settings, "--fork", name]
    return shell_commands.main(*redact_arguments(arguments))


def _names(database: Database) -> list[str]:
    return optuna.get_all_study_names(database.storage)


@contextmanager
def _located(config: OptimizeConfig) -> Iterator[None]:
    """Add to problems their places in the files, where the config was read from one."""
    try:
        yield
    except ConfigError as error:
        if config._document is None:
            raise
        raise config._document.located(error) from error
