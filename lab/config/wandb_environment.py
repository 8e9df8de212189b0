"""W&B's environment variables: they count where the config is silent (the table is in docs/trackers.md).

A run's config is settled when the run begins, and kept so in its `config.yaml`: a resumed run stays in its
project, whatever the environment sets by then. How and where W&B writes (`WANDB_MODE`, `WANDB_DIR`) is read
again each time.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Literal

from lab.config.problems import ConfigError, Path, Problem
from lab.config.run_config import RunConfig
from lab.config.tracker_config import WandbConfig
from lab.store import paths

MODE, PROJECT, DIR, NAME = "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR", "WANDB_NAME"
JOB_TYPE, RUN_ID, RESUME = "WANDB_JOB_TYPE", "WANDB_RUN_ID", "WANDB_RESUME"
Mode = Literal["auto", "online", "offline", "disabled"]
# W&B's own words. `shared` lets processes share a run, and here each run has one of its own.
MODES: Mapping[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "online",
    "dryrun": "offline",
    "run": "online",
}
# The settings of the tracker that a variable stands in for; those of a study's runs are fewer.
FIELDS: Mapping[str, str] = {
    "WANDB_ENTITY": "entity",
    NAME: "name",
    "WANDB_RUN_GROUP": "group",
    JOB_TYPE: "job_type",
    "WANDB_TAGS": "tags",
    "WANDB_NOTES": "notes",
}
FIELDS_OF_STUDY = {key: field for key, field in FIELDS.items() if field not in ("name", "job_type")}
_CLOSED = frozenset("/\\#?%:")  # characters that W&B refuses in a project
_CLOSED_ID = frozenset(":;,#?/'")
_LONGEST_PROJECT, _LONGEST_TAG = 128, 64


def settled(config: RunConfig, recorded: Mapping[str, object] | None = None) -> RunConfig:
    """A run's config with what the environment sets for W&B, where the config doesn't; asked once a run.

    Args:
        recorded: the config of the run that is resumed, as its folder keeps it: it comes before the
            environment.

    Raises:
        ConfigError: a variable holds what W&B doesn't know.
    """
    ConfigError.raise_if(problems_of(config, recorded or {}))
    values = values_of(config, recorded or {}, FIELDS)
    return config.with_values(values) if values else config


def values_of(
    config: RunConfig, recorded: Mapping[str, object], fields: Mapping[str, str]
) -> dict[str, object]:
    """The values by path that the record or the environment has for what the config leaves open.

    Args:
        fields: the settings of the tracker that may be among them, by variable.
    """
    found = _tracker(config)
    if found is None:
        return {}
    index, tracker = found
    before = _recorded(recorded)
    values: dict[str, object] = {}
    for variable, field in fields.items():
        named = field == "name" and "name" in config.model_fields_set
        if getattr(tracker, field) or (named and before is None):
            continue
        if value := _value(variable) if before is None else before.get(field):
            values[f"trackers.{index}.{field}"] = value
    if "project" not in config.model_fields_set:
        values["project"] = recorded.get("project") or _value(PROJECT) or config.project
    return values


def problems_of(config: RunConfig, recorded: Mapping[str, object] = {}) -> Iterator[Problem]:
    """The variables that count and that W&B would not take, where the config has it as a tracker.

    Args:
        recorded: the config of the run that is resumed, or of the study that is continued.
    """
    found = _tracker(config)
    if found is None:
        return
    path: Path = ("trackers", found[0])
    mode = _value(MODE)
    if found[1].mode == "auto" and mode and mode not in MODES:
        yield Problem((*path, "mode"), f"{MODE} is {mode!r} in the environment; it can be {', '.join(MODES)}")
    begun = _recorded(recorded) is not None
    # A run that has begun keeps its project and tags, whatever the environment sets now.
    project = str(_value(PROJECT) or "")
    wrong = _CLOSED.intersection(project) or len(project) > _LONGEST_PROJECT
    if wrong and not begun and "project" not in config.model_fields_set:
        what = f"at most {_LONGEST_PROJECT} characters and none of {' '.join(sorted(_CLOSED))}"
        yield Problem(("project",), f"{PROJECT} is {project!r} in the environment; W&B takes {what}")
    tags = () if begun or found[1].tags else _value("WANDB_TAGS") or ()
    if longest := [tag for tag in tags if len(tag) > _LONGEST_TAG]:
        message = (
            f"WANDB_TAGS has {longest[0]!r} in the environment; W&B takes {_LONGEST_TAG} characters a tag"
        )
        yield Problem((*path, "tags"), message)
    if (folder := str(_value(DIR) or "")) and (why := paths.problem_of(folder)):
        yield Problem(path, f"{DIR} is {folder!r} in the environment: {why}")
    if not begun and _CLOSED_ID.intersection(name := str(_value(RUN_ID) or "")):
        message = f"{RUN_ID} is {name!r} in the environment; W&B takes none of {' '.join(sorted(_CLOSED_ID))}"
        yield Problem(path, message)


def mode_of(tracker: WandbConfig) -> Mode:
    """Online, offline or disabled, or `auto` where neither the config nor the environment sets it."""
    if tracker.mode != "auto":
        return tracker.mode
    return MODES.get(str(_value(MODE)), "auto")


def mode_reason(tracker: WandbConfig) -> str:
    """The setting that the mode comes from."""
    return "the config" if tracker.mode != "auto" else f"{MODE}={os.environ.get(MODE)}"


def directory() -> FilePath | None:
    """The folder in which W&B's files are to lie, instead of that of each run."""
    value = _value(DIR)
    return paths.start() / os.path.expanduser(str(value)) if value else None  # noqa: PTH111


def run_id() -> str | None:
    """The id that one run is to have."""
    return None if (value := _value(RUN_ID)) is None else str(value)


def overruled(tracker: WandbConfig, project: str, known: Mapping[str, str | None]) -> list[str]:
    """The variables that are set and don't count, each with the value that does.

    Args:
        tracker: of a settled config.
        known: by variable, what counts instead of the tracker's setting, or of any; None: nothing can.
    """
    counts: dict[str, object] = {PROJECT: project, MODE: tracker.mode}
    counts |= {variable: getattr(tracker, field) for variable, field in FIELDS.items()}
    counts |= known
    found = []
    for variable, value in counts.items():
        asked = _value(variable)
        if variable == MODE and (value == "auto" or MODES.get(str(asked)) == value):
            continue
        if asked and asked != value:
            shown = ",".join(value) if isinstance(value, tuple) else value
            found.append(f"{variable} (it is {shown})" if shown else variable)
    return found


def _tracker(config: RunConfig) -> tuple[int, WandbConfig] | None:
    return next(((i, t) for i, t in enumerate(config.trackers) if isinstance(t, WandbConfig)), None)


def _recorded(config: Mapping[str, object] | None) -> Mapping[str, Any] | None:
    """The tracker of a config that was settled; None where there is none, or it is older than that."""
    trackers = (config or {}).get("trackers")
    for tracker in trackers if isinstance(trackers, list) else ():
        if isinstance(tracker, Mapping) and tracker.get("type") == "wandb" and "notes" in tracker:
            return tracker
    return None


def _value(variable: str) -> Any:
    """A variable's value, None where it is not set or empty; tags as a tuple."""
    text = os.environ.get(variable, "").strip()
    if variable == "WANDB_TAGS":
        return tuple(filter(None, (tag.strip() for tag in text.split(",")))) or None
    return text or None
