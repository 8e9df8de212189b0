"""`--check` of a study: one batch at each corner of its space, and what the whole study will take.

A corner is tried in a process of its own, so that its peak memory is its own, and running out of memory, a
crash or a hang are that corner's fault alone. This one does without torch.
"""

import faulthandler
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lab.config import ConfigError, RunConfig
from lab.config.import_target import is_installed
from lab.config.optimize_config import OptimizeConfig
from lab.config.problems import Refusal
from lab.config.search_space import Corner
from lab.config.validation import validate
from lab.console.formatting import format_duration
from lab.console.streams import into_files, status_line
from lab.hpo import forkserver
from lab.hpo.cost_estimate import Room
from lab.hpo.executor import cpu_share
from lab.hpo.preflight_report import StudyReport
from lab.train.preflight_report import DIVERGED, Report

BASE = "the base"
LIMIT = 120.0  # seconds that a corner may take
_GRACE = 10.0  # seconds after which a process that should have ended by itself is killed
_FRAME = re.compile(r'^  File "(.+)", line (\d+) in ', re.MULTILINE)
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container

Build = Callable[..., Any]  # makes a lab.train.state_inventory.Trained


@dataclass(frozen=True)
class _Work:
    """The work of one process.

    Args:
        log: takes what is printed, and where the process was when it died.
    """

    config: Mapping[str, Any]
    build: Build
    log: Path
    limit: float


@dataclass(frozen=True)
class _Found:
    """The result of one process. `device` is empty where it died."""

    report: Report
    device: str = ""
    memory: int | None = None  # bytes that the device has


def check(config: OptimizeConfig, build: Build, *, limit: float = LIMIT) -> StudyReport:
    """Load a batch at each corner, pass it forward and backward, step; extrapolate to the whole study.

    Args:
        build: makes a Trainer, as for `preflight`; another process finds it by its name.
        limit: seconds that a corner may take.

    Raises:
        ConfigError: a corner's values make no valid run.
    """
    forkserver.warm_up(config.base, build.__module__)
    started = time.perf_counter()
    feasible, left_out = _feasible(config)
    corners = [Corner(BASE, {}), *feasible]
    runs = [_run(config, corner).as_data() for corner in corners]
    found = []
    with tempfile.TemporaryDirectory() as folder, status_line() as report_status:
        for index, (corner, run) in enumerate(zip(corners, runs, strict=True)):
            report_status(f"Corner {index + 1} of {len(corners)}: {corner.label}")
            found.append(_try(_Work(run, build, Path(folder) / f"{index}.log", limit)))
    tried = [(corner, _judged(one.report, config)) for corner, one in zip(corners, found, strict=True)]
    known = next((one for one in found if one.device), _Found(Report()))
    room = Room(known.memory, known.device, shutil.disk_usage(Path.cwd()).free)
    return StudyReport.of(config, tried, room, time.perf_counter() - started, left_out)


def _feasible(config: OptimizeConfig) -> tuple[list[Corner], dict[str, str]]:
    """The corners that meet the study's constraints, and which one each of the others violates, by label.

    A choice that is infeasible beside the largest numbers is tried with others.
    """
    corners, left_out = [], {}
    for corner in config.space.extremes():
        broken = config.feasibility.violated(corner.values)
        if broken is not None and corner.at:
            name = str(corner.at[0])
            label = config.space.parameters[name].label(corner.values[name])
            if (values := config.feasibility.completed({name: label})) is not None and name in values:
                corner, broken = replace(corner, values=values), None
        if broken is None:
            corners.append(corner)
        else:
            left_out[corner.label] = broken
    return corners, left_out


def _run(config: OptimizeConfig, corner: Corner) -> RunConfig:
    """The corner as a trial of the study would run: on the first device, with its share of the CPU."""
    values: dict[str, Any] = {"device": config.devices[0]} if config.devices else {}
    run = config.trial_config(corner.values)
    if run.threads is None and config.n_workers > 1:
        values["threads"] = cpu_share(config.n_workers)
    return run.with_values(values)


def _judged(report: Report, config: OptimizeConfig) -> Report:
    """Turn faults that the study handles itself into warnings: divergence, or too large a batch."""
    if DIVERGED in report.faults:
        faults = [fault for fault in report.faults if fault != DIVERGED]
        return replace(report, faults=faults, warnings=[*report.warnings, DIVERGED])
    if not report.out_of_memory:
        return report
    if config.on_oom == "infeasible":
        return replace(report, faults=[f"out of memory: {fault}" for fault in report.faults])
    too_large = [
        f"out of memory; such trials begin again with half the batch: {text}" for text in report.faults
    ]
    return replace(report, faults=[], warnings=[*report.warnings, *too_large])


def _try(work: _Work) -> _Found:
    """Try it in a new process, and wait for it."""
    process, connection = forkserver.start(_at_work, work, name="corner")
    started, overdue = time.monotonic(), False
    try:
        if connection.poll(work.limit + _GRACE):
            found: _Found = connection.recv()
            return found
        overdue = True
    except (EOFError, OSError):
        process.join(_GRACE)
        overdue = time.monotonic() - started >= work.limit
    finally:
        process.kill()
        process.join()
        connection.close()
    cause = forkserver.cause_of_death(process.exitcode)
    if overdue:
        cause = f"one batch takes longer than {format_duration(work.limit)}"
    return _Found(Report(faults=[cause + _place(work.log)]))


def _at_work(connection: Connection, work: _Work) -> None:
    """Do the work of the process. At the time limit it records its position, and exits."""
    with work.log.open("ab", buffering=0) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    into_files()
    for number in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to all
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable(2)
    faulthandler.dump_traceback_later(work.limit, exit=True, file=2)
    try:
        config = validate(RunConfig, work.config)
        if config.device.startswith("cuda:"):
            import torch

            torch.cuda.set_device(config.device)
        from lab.train.preflight import preflight

        report = preflight(config, work.build)
    except ConfigError as error:
        report = Report(faults=[str(problem) for problem in error.problems])
        if isinstance(error, Refusal) and error.declared:  # a mere ValueError may be a mistake in the space
            report = Report(
                warnings=[f"{problem}; such trials are not trained" for problem in error.problems]
            )
    report.figures = {name: str(value) for name, value in report.figures.items()}
    device = report.figures.get("device", "")
    connection.send(_Found(report, device, _memory(device) if device else None))


def _place(log: Path) -> str:
    """` (mine.py:12)`: the user's innermost line where the process was, or Python's where there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    frames = _FRAME.findall(text[text.rfind("most recent call first") :])
    own = [(file, line) for file, line in frames if not is_installed(file)]
    file, line = next(iter(own or frames), ("", ""))
    return f" ({Path(file).name}:{line})" if file else ""


def _memory(device: str) -> int | None:
    """Bytes that a GPU has, or the machine, or the part of it that this container may use."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    try:
        sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (ValueError, OSError):
        return None
    for name in _LIMITS:
        path = Path(name)
        text = path.read_text(encoding="utf-8").strip() if path.exists() else ""
        sizes += [int(text)] if text.isdecimal() else []
    return min(sizes)
