"""A config as it is stored: without its secrets, which have to be given again to use it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from lab.config import ConfigError, OptimizeConfig, Problem, RunConfig, config_file
from lab.config.module_locations import open_below
from lab.config.wandb_environment import problems_of
from lab.config.yaml_writer import to_text
from lab.store.redact import HIDDEN, hidden, learn, redact, redact_source

_HEAD = f"# {HIDDEN} replaces a secret, which is not stored; provide it by --set PATH=VALUE.\n"
_BARE = re.compile(r"(?m)(?<=: )\*{3}(?=\s*(?:#|$))")  # which would be an alias of YAML's
Config = TypeVar("Config", RunConfig, OptimizeConfig)


def read_run(
    path: str | Path, overrides: Sequence[str], *, resumed: bool = False
) -> tuple[RunConfig, config_file.Document]:
    """Read the config, and the document that has the place of each value.

    Args:
        resumed: W&B's environment is checked later, once it is known what the run began with.

    Raises:
        ConfigError: it can't be read, or is a record that lacks its secrets, or W&B's environment is wrong.
    """
    document = config_file.override(config_file.read(path), overrides, RunConfig.defaults())
    config = _whole(RunConfig.from_document(document), document)
    if not resumed and (problems := list(problems_of(config))):
        raise document.located(ConfigError(problems))
    return config, document


def read_study(path: str, overrides: Sequence[str]) -> tuple[OptimizeConfig, config_file.Document]:
    """The same for a study's file."""
    document = OptimizeConfig.read(path, overrides)
    if document.run_source:
        open_below(Path(document.run_source).parent)
    config = _whole(OptimizeConfig.from_document(document), document)
    if problems := [config.in_base(problem) for problem in problems_of(config.base)]:
        raise document.located(ConfigError(problems))
    return config, document


def _whole(config: Config, document: config_file.Document) -> Config:
    with document.locating():
        require_secrets(config.as_data())
    return config


def written(config: Mapping[str, Any]) -> str:
    """The YAML of a config for a run's or a study's folder; the config's own where nothing is hidden."""
    shown = redact(config)
    return (_HEAD if any(hidden(shown)) else "") + to_text(shown)


def as_written(text: str) -> str:
    """A YAML as its author wrote it, comments included, but for its secrets.

    Where they can't be taken out of the text alone, it is the YAML of the same data.
    """
    shown = _BARE.sub(f"'{HIDDEN}'", redact_source(text))
    try:
        data = config_file.parse(shown, "").data
    except ConfigError:
        data = None
    # Redaction of text can't see structure, so the data decides whether a secret is left.
    if data is not None and redact(data) == data:
        return shown
    return written(config_file.parse(text, "").data)


def require_secrets(config: Mapping[str, object]) -> None:
    """Register the secrets of a config that is about to be used.

    Raises:
        ConfigError: it is a record of one, and hides some.
    """
    learn(config)
    message = "is a secret that is not stored; provide it: --set {}=VALUE"
    ConfigError.raise_if(Problem(path, message.format(".".join(path))) for path in hidden(config))
