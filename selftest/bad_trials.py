"""Trials whose code fails in every way there is, and configurations that kill whatever runs them."""

import html
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from lab.config.optimize_config import OptimizeConfig
from lab.report.study import REPORT
from selftest.audit import Audit
from selftest.bench import Bench, Process
from selftest.sockets import processes
from selftest.studies import STUDIES, small_study, write_file
from selftest.verdict import Verdict

_BACK = 50.0  # megabytes that the memory may differ in the end
_LONGEST = 600.0  # seconds
_DIED = "died.txt"
# What is planted -> its outcome, and what its cause has to say.
CAUSES: Mapping[str, tuple[str, str]] = {
    "error": ("failed", "TypeError: planted: unsupported operand"),
    "oom": ("out_of_memory", "OutOfMemoryError: CUDA out of memory"),
    "memory_error": ("out_of_memory", "MemoryError: planted: no more"),
    "system_exit": ("failed", "SystemExit: 3"),
    "segfault": ("failed", "its process was ended by SIGSEGV"),
}
_KILLERS = ("exit", "kill")


def bad_trials(bench: Bench, count: int) -> Verdict:
    """`count` trials in two processes at a time; every second one fails, and leaves 64 MB lying about."""
    folder = bench.folder("bad-trials")
    kinds = list(CAUSES)
    faults = [kinds[number // 2 % len(kinds)] if number % 2 else "none" for number in range(count)]
    config = _study(folder, len(faults), list(CAUSES), isolation="process", run__net__ballast=64)
    audit = Audit(config, folder)
    audit.enqueue(_point(fault, number) for number, fault in enumerate(faults))
    command = bench.start(folder, "--optimize", str(write_file(folder, config)))
    # This returns when the command has ended.
    base, end, most = _watch_memory(command, audit)
    done = command.done(1.0)
    found = audit.trials()
    broken = [f"the command ended with {done.code}: {done.last}"] * (done.code != 0)
    broken += judge_bad(found, faults, _page(folder))
    if abs(end - base) > _BACK:
        broken.append(f"the memory was {base:.0f} MB, and {end:.0f} MB in the end")
    audit.close()
    good = sum(trial.state == TrialState.COMPLETE and _outcome(trial) == "completed" for trial in found)
    pairs = zip(found, faults, strict=False)
    reported = sum(fault != "none" and CAUSES[fault][1] in _cause(trial) for trial, fault in pairs)
    figures = {
        "good ones completed": good,
        "good ones": faults.count("none"),
        "causes reported": reported,
        "bad ones": count - faults.count("none"),
        "MB more in the end": end - base,
        "MB more at most": most - base,
    }
    return Verdict(figures, broken)


def killing_configuration(bench: Bench, count: int) -> Verdict:
    """`count` configurations that kill their process, among good ones; each is asked for a second time.

    Once with a process for each trial, and once without, where the whole command dies and is started again.
    """
    broken: list[str] = []
    tries: Counter[str] = Counter()
    values: list[list[object]] = []
    starts = 0
    for isolation in ("process", "none"):
        folder = bench.folder(f"killing-{isolation}")
        rounds = _with_killers(count)
        faults = {"isolation": isolation, "run__net__note": _DIED}
        config = _study(folder, sum(map(len, rounds)), list(_KILLERS), **faults)
        audit, asked = Audit(config, folder), 0
        # The copies are queued after the quarantines: else two workers begin a configuration and its copy
        # side by side.
        for points, most in zip(rounds, (1 if isolation == "process" else 2 * count + 1, 1), strict=True):
            audit.enqueue(points)
            asked += len(points)
            begun = config.model_copy(update={"n_trials": asked})
            starts += _through(bench, folder, begun, most=most, broken=broken) - 1
        died = (folder / _DIED).read_text().splitlines() if (folder / _DIED).exists() else []
        tries.update(died)
        found = audit.trials()
        audit.close()
        broken += [f"{isolation}: {line}" for line in judge_killers(found, died, _page(folder))]
        values.append([trial.values for trial in found if trial.params.get("net.fault") == "none"])
    # Isolation must not change what good trials compute.
    if values[0] != values[1]:
        broken.append(f"good ones have other values without processes: {values[1]}, with: {values[0]}")
    figures = {
        "killing configurations": 2 * count,
        "tries each": max((number // 2 for number in tries.values()), default=0),
        "good ones completed": sum(map(len, values)),
        "commands that died with them": starts,
    }
    return Verdict(figures, broken)


def judge_bad(trials: Sequence[FrozenTrial], faults: Sequence[str], page: str) -> Iterator[str]:
    """Judge trials of which these faults were asked.

    Args:
        page: the text of the report.
    """
    if len(trials) != len(faults):
        yield f"{len(trials)} trials, expected {len(faults)}"
    for trial, fault in zip(trials, faults, strict=False):
        where = f"trial {trial.number} ({fault})"
        if fault == "none":
            if trial.state != TrialState.COMPLETE or _outcome(trial) != "completed":
                yield f"{where}: {_outcome(trial)}, expected completed: {_cause(trial)}"
            continue
        outcome, cause = CAUSES[fault]
        if (found := _outcome(trial)) != outcome:
            yield f"{where}: {found}, expected {outcome}: {_cause(trial)}"
        if cause not in _cause(trial):
            yield f"{where}: the cause is {_cause(trial)!r}, expected {cause!r}"
        if not _row(page, trial.number, _cause(trial)):
            yield f"{where}: the report doesn't have its cause"


def judge_killers(trials: Sequence[FrozenTrial], died: Sequence[str], page: str) -> Iterator[str]:
    """Judge a study with killing configurations, each of which was asked for twice.

    Args:
        died: `fault width` of each process that was killed.
        page: the text of the report.
    """
    seen, killed = set(), Counter(died)
    for trial in trials:
        fault, width = trial.params.get("net.fault"), trial.params.get("net.width")
        where = f"trial {trial.number} ({fault} {width})"
        if fault == "none":
            if trial.state != TrialState.COMPLETE or trial.user_attrs.get("attempts") != 1:
                yield f"{where}: {_outcome(trial)} after {trial.user_attrs.get('attempts')} attempts"
            continue
        if trial.state != TrialState.FAIL:
            yield f"{where}: {trial.state.name}, expected FAIL"
        # Only the first trial of a configuration may run; the second is refused at once.
        first = (fault, width) not in seen
        seen.add((fault, width))
        if first and (number := killed[f"{fault} {width}"]) != 2:
            yield f"{where}: tried {number} times, expected 2"
        if "quarantined" not in _cause(trial):
            yield f"{where}: the cause is {_cause(trial)!r}, which names no quarantine"
        values = f"<code>net.fault</code> {fault}, <code>net.width</code> {width}"
        if first and values not in page[page.find('id="quarantine"') :]:
            yield f"{where}: its values are not among the quarantined ones of the report"


def _study(folder: Path, n_trials: int, faults: list[str], **changes: Any) -> OptimizeConfig:
    space = {
        "net.fault": {"type": "categorical", "choices": ["none", *faults]},
        "net.width": {"type": "int", "low": 4, "high": 4 + 2 * n_trials},
    }
    workers = 2 if changes["isolation"] == "process" else 1
    return small_study(
        f"sqlite:///{folder / 'studies.db'}", n_trials, search_space=space, max_attempts=2, workers=workers,
        run__net__seconds=0.0, **changes,
    )  # fmt: skip


def _point(fault: str, number: int) -> dict[str, object]:
    return {"net.fault": fault, "net.width": 4 + number}


def _with_killers(count: int) -> list[list[dict[str, object]]]:
    """Each killing configuration between good ones; and a second round of them, once all have been tried."""
    rounds: list[list[dict[str, object]]] = [[_point("none", 0)], []]
    killers = [_point(_KILLERS[index % len(_KILLERS)], 4 * index + 1) for index in range(count)]
    for index, killer in enumerate([*killers, *killers]):
        rounds[index // count] += [killer, _point("none", 2 * index + 2)]
    return rounds


def _through(bench: Bench, folder: Path, config: OptimizeConfig, most: int, broken: list[str]) -> int:
    """Start the command until the study is over, or so often; how often that was."""
    path = write_file(folder, config)
    for start in range(1, most + 1):
        begin = bench.start if config.isolation == "process" else bench.warm
        done = begin(folder, "--optimize", str(path)).done(_LONGEST)
        if done.code == 0:
            return start
    broken.append(f"{config.isolation}: after {most} starts the command still ends with {done.code}")
    return most


def _watch_memory(command: Process, audit: Audit) -> tuple[float, float, float]:
    """The megabytes of the command and of the server that trials are forked from: early, at the end, at most.

    Early is when a tenth of the trials is over, and the end is that of the last one: after it the report is
    drawn, which takes memory of its own.
    """
    base = end = most = 0.0
    total, deadline = len(audit.trials()), time.monotonic() + _LONGEST
    while command.alive and time.monotonic() < deadline:
        now, done = _megabytes(command.pid), audit.finished()
        if done < total and done >= max(2, total // 10):
            base, end, most = base or now, now, max(most, now)
        time.sleep(0.1)
    return base, end, most


def _megabytes(pid: int) -> float:
    """Resident memory of a process and its children, without theirs: trials are the server's children."""
    total = 0
    for each in (pid, *(child for child, _, parent, _ in processes() if parent == pid)):
        with suppress(OSError):
            found = re.search(
                r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{each}/status").read_text(encoding="utf-8"), re.MULTILINE
            )
            total += int(found[1]) if found else 0
    return total / 1024


def _page(folder: Path) -> str:
    path = folder / STUDIES / "small" / REPORT
    return path.read_text() if path.exists() else ""


def _row(page: str, number: int, cause: str) -> bool:
    """Return whether the report's table of what went wrong has this trial with its cause."""
    start = page.find(f'<tr><th scope="row">{number}</th>', page.find("What went wrong"))
    return bool(cause) and html.escape(cause) in page[start : page.find("</tr>", start)].replace(
        "&#39;", "&#x27;"
    )


def _outcome(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("outcome", trial.state.name))


def _cause(trial: FrozenTrial) -> str:
    return str(trial.user_attrs.get("cause", ""))
