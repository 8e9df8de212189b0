"""The kinds of values that only a study's file has: durations, places, devices."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from lab.config.base import Count, Flag, Frozen, Number
from lab.config.problems import ConfigError, Problem, nearest, shown
from lab.store.paths import url_problem

_DURATION = re.compile(r"(?=.)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_SECONDS = (86400, 3600, 60, 1)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?")
_POSTGRES = re.compile(r"postgresql(\+\w+)?://.+")
SAMPLERS = [
    "BruteForceSampler", "CmaEsSampler", "GPSampler", "GridSampler", "NSGAIISampler", "NSGAIIISampler",
    "QMCSampler", "RandomSampler", "TPESampler",
]  # fmt: skip
PRUNERS = [
    "HyperbandPruner", "MedianPruner", "PatientPruner", "PercentilePruner", "SuccessiveHalvingPruner",
    "ThresholdPruner", "WilcoxonPruner",
]  # fmt: skip


def _wrong(message: str) -> ConfigError:
    return ConfigError([Problem((), message)])


def _seconds(value: Any) -> Any:
    """A duration's text as seconds."""
    expected = "expected seconds, or a text such as 90s, 30m, 2h, 1d or 1h30m"
    if isinstance(value, str):
        found = _DURATION.fullmatch(value)
        if found is None or len(value) > 30:
            raise _wrong(f"found {shown(value)}, {expected}")
        parts = [float(part) * unit for part, unit in zip(found.groups(), _SECONDS, strict=True) if part]
        value = sum(parts)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < 1e12:
        raise _wrong(f"found {shown(value)}, {expected}; more than 0")
    return float(value)


Duration = Annotated[
    float,
    BeforeValidator(
        _seconds,
        json_schema_input_type=Annotated[float, Field(gt=0)]
        | Annotated[str, Field(pattern=r"^(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s)?$", min_length=2)],
    ),
]


def _folder_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise _wrong(f"found {shown(value)}, expected a name for a folder: letters, digits, _ . and -")
    return value


StudyName = Annotated[str, AfterValidator(_folder_name)]


def _device(value: str) -> str:
    if not _DEVICE.fullmatch(value):
        raise _wrong(f"found {shown(value)}, expected cpu, cuda, cuda:1 or mps")
    return value


Device = Annotated[
    str, AfterValidator(_device), Field(json_schema_extra={"pattern": f"^({_DEVICE.pattern})$"})
]


def _storage(value: str) -> str:
    """Refuse what loses trials, or can't be shared by processes, with the reason."""
    scheme, _, rest = value.partition("://")
    if message := url_problem(value):
        raise _wrong(f"{shown(value)}: {message}")
    if _POSTGRES.fullmatch(value):
        return value
    in_memory = rest in ("", "/", "/:memory:") or "mode=memory" in rest or "file::memory:" in rest
    if scheme == "sqlite" and in_memory:
        raise _wrong("a database in memory is gone with its process; give a file: sqlite:///studies.db")
    if scheme == "sqlite" and rest.startswith("/"):
        return value
    if scheme == "sqlite":
        raise _wrong(f"found {shown(value)}; a file has three slashes: did you mean 'sqlite:///{rest}'?")
    if scheme == "postgres":
        raise _wrong("the name is postgresql; did you mean 'postgresql://...'?")
    if scheme.partition("+")[0] in ("mysql", "mariadb", "oracle", "mssql"):
        raise _wrong(f"found {shown(scheme)}; only SQLite and PostgreSQL can claim a trial safely here")
    if scheme in ("redis", "journal") or value.endswith((".log", ".journal")):
        raise _wrong("a journal can't be repaired after a torn write; use sqlite:///FILE or postgresql://...")
    expected = "expected sqlite:///FILE or postgresql://..."
    if "://" in value:
        hint = nearest(scheme, ["sqlite", "postgresql"])
        raise _wrong(f"found {shown(scheme)}, {expected}{hint}")
    hint = f"; did you mean 'sqlite:///{value}'?" if re.search(r"\.(db|sqlite3?)$", value) else ""
    raise _wrong(f"found {shown(value)}, {expected}{hint}")


Storage = Annotated[
    str,
    AfterValidator(_storage),
    Field(json_schema_extra={"pattern": r"^(sqlite:///.|postgresql(\+\w+)?://.)"}),
]


def _full_name(package: str, known: list[str]) -> object:
    """Name the import path where only a class's name stands."""

    def check(value: object) -> Any:
        name = value.get("target") if isinstance(value, dict) else value
        if isinstance(name, str) and "." not in name and nearest(name, known):
            near = nearest(name, known).replace("mean '", f"mean '{package}.")
            raise ConfigError([Problem(("target",), f"'{name}' is no import path{near}")])
        return value

    return check


full_sampler = _full_name("optuna.samplers", SAMPLERS)
full_pruner = _full_name("optuna.pruners", PRUNERS)


class RetentionConfig(Frozen):
    """Whose weights stay on the disk; metrics and configs stay for all trials."""

    keep_best: Count = Field(3, description="number of best trials whose weights are kept")
    max_disk_gb: Number | None = Field(
        None, gt=0, description="largest size of the whole study on disk, in GB"
    )
    pruned: Flag = Field(False, description="keep the weights of pruned trials, too")


class ConfirmConfig(Frozen):
    """At the end the best trials are run again on fresh seeds, for what they are worth on average."""

    top: Count = Field(3, description="how many of the best trials")
    seeds: Annotated[int, Field(strict=True, ge=2)] = Field(5, description="fresh seeds for each of them")
