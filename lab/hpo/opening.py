"""Open a study by its file: make it, or go on with it where the file still means the same search."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import optuna

from lab.config.optimize import OptimizeConfig
from lab.hpo import changes
from lab.hpo.storage import Database
from lab.redact import redact

CONFIG, BASE = "config", "base"  # what the study's attributes keep


def open_study(config: OptimizeConfig, database: Database) -> optuna.Study:
    """Make the study, or load it and compare the file with what it was made from.

    Raises:
        ConfigError: the file has changed so that old and new trials can't be compared.
    """
    wanted = description(config)
    with database.exclusive(config.study_name):
        try:
            study = optuna.load_study(study_name=config.study_name, storage=database.storage)
        except KeyError:
            study = optuna.create_study(
                study_name=config.study_name,
                storage=database.storage,
                directions=["minimize" if m.mode == "min" else "maximize" for m in config.monitors],
            )
            _write(study, wanted)
            return study
        changes.refuse(study.user_attrs, wanted, config.study_name)
        if {name: study.user_attrs.get(name) for name in wanted} != wanted:
            _write(study, wanted)
    return study


def fork_study(config: OptimizeConfig, database: Database, told: Callable[[str], None]) -> optuna.Study:
    """A new study"""
    raise NotImplementedError


def description(config: OptimizeConfig) -> dict[str, Any]:
    """What identifies a study, without secrets: its file, and the base run with all defaults."""
    return {
        CONFIG: redact(config.as_data()),
        BASE: redact(config.base.as_data()),
        "versions": {name: version(name) for name in ("torch", "optuna")},
    }


def _write(study: optuna.Study, wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        study.set_user_attr(name, value)
