"""The disk full at each point of writing: what was saved stays, a message appears, space lets it continue."""

import json
import sqlite3
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from lab import checkpoint
from lab.store import run_folder
from lab.trackers.csv_file import read_metrics
from selftest.bench import Bench, as_main, end_group, until
from selftest.small_disk import NoSmallDisk, SmallDisk, fill, fill_at_opening, free
from selftest.studies import small_run
from selftest.verdict import Tally, Verdict

EPOCHS, TRIALS = 4, 3
_WAITS = 12.0  # seconds after which a command is taken to wait for space
_PATIENCE = 90.0
_SAYING = ("No space left on device", "disk is full")
_SHOWN = ("report.html", "leaderboard.csv", "metrics.json")
_METRICS = 220  # so many that each row of the record needs another page of the disk
Rows: TypeAlias = Mapping[str, list[dict[str, float]]]  # of each kind of command
Kind = str  # run, pictures, mirrors, study, workers (a study of processes), evaluate


@dataclass(frozen=True)
class Point:
    """Something that is written.

    Args:
        what: for people.
        kind: of the command that writes it.
        file: a part of its path.
        time: which opening of the file it is.
        room: pages of 4 KiB that are left, so that it breaks off in the middle.
    """

    what: str
    kind: Kind
    file: str
    time: int = 1
    room: int = 0


POINTS = (
    Point("a row of metrics.csv, in its middle", "run", "metrics.csv", 4, room=1),
    Point("the checkpoint of epoch 3", "run", "last.pt", 3, room=2),
    Point("the database during a study", "study", "trial_00001/metrics.csv", 2),
    Point("a study's report", "study", "report.html"),
    Point("a run's config", "run", "config.yaml"),
    Point("its provenance", "run", "provenance.json"),
    Point("its events, at the start", "run", "events.jsonl"),
    Point("its events, later", "run", "events.jsonl", 4),
    Point("metrics.csv, at the start", "run", "metrics.csv"),
    Point("the first checkpoint", "run", "last.pt", room=3),
    Point("the summary at the start", "run", "summary.json"),
    Point("the summary at the end", "run", "summary.json", 2),
    Point("history.png", "pictures", "history.png"),
    Point("TensorBoard's events", "mirrors", "events.out.tfevents"),
    Point("W&B's files", "mirrors", "run_id.txt"),
    Point("a study's database, at its making", "study", "studies.db.lock"),
    Point("a study's file", "study", "study.yaml"),
    Point("a trial's trial.json, and all that its process writes", "workers", "trial_00001/.trial.json"),
    Point("best/", "study", "best/.config.yaml"),
    Point("an evaluation", "evaluate", "evaluation/"),
)


def full_disk(bench: Bench, count: int) -> Verdict:
    """The disk is filled up as each of the points is about to be written; then there is space again."""
    folder = bench.folder("disk")
    try:
        with SmallDisk(bench, folder):
            pass
    except NoSmallDisk as error:
        return Verdict({"points": 0}, (), (f"no file system of limited size can be had: {error}",))
    reference = _reference(bench)
    points = POINTS[:count]
    tally = Tally({"points": len(points), "lost": 0, "without a clear message": 0, "not continued": 0})
    for point in points:
        _try(bench, point, reference, tally)
    return tally.verdict()


@dataclass(frozen=True)
class State:
    """The runs and studies that a folder holds.

    Args:
        epochs: of the newest checkpoint of each run that can be loaded.
        rows: the record of each run, without the seconds.
        outcomes: of the runs.
        trials: the finished ones, with their values.
        files: those that people look at.
        fault: why something can't be read.
    """

    epochs: dict[str, int]
    rows: dict[str, list[dict[str, float]]]
    outcomes: dict[str, str]
    trials: dict[str, float]
    files: list[str]
    fault: str = ""


def state_of(place: Path) -> State:
    """Look at the runs and the database below a folder."""
    runs = sorted(path.parent for path in place.rglob(run_folder.CHECKPOINTS))
    runs = [run for run in runs if (run / run_folder.CONFIG).exists()]  # else nothing has begun in it
    epochs, rows, outcomes, faults = {}, {}, {}, []
    for run in runs:
        name = str(run.relative_to(place))
        outcomes[name] = str((run_folder.read_summary(run) or {}).get("outcome"))
        try:
            rows[name] = [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(run)]
            if any((run / run_folder.CHECKPOINTS).glob("*.pt")):
                epochs[name] = checkpoint.load_latest(run / run_folder.CHECKPOINTS)[0]["course"]["epoch"]
        except ValueError as error:
            faults.append(str(error))
    trials: dict[str, float] = {}
    try:
        trials = _finished(place / "studies.db")
    except (sqlite3.Error, ValueError) as error:
        faults.append(f"studies.db: {error}")
    files = sorted(path.name for name in _SHOWN for path in place.rglob(name) if path.stat().st_size)
    return State(epochs, rows, outcomes, trials, files, "; ".join(faults))


def judge_kept(before: State, after: State) -> Iterator[str]:
    """Name what was saved when the disk was full, and isn't any more."""
    if after.fault:
        yield after.fault
    for run, epoch in before.epochs.items():
        if after.epochs.get(run, 0) < epoch:
            yield f"{run}: a checkpoint of epoch {epoch} expected, found {after.epochs.get(run)}"
    for run, rows in before.rows.items():
        if after.rows.get(run, [])[: len(rows)] != rows:
            yield f"{run}: {len(rows)} rows expected, found {len(after.rows.get(run, []))}"
    for number, values in before.trials.items():
        if after.trials.get(number) != values:
            yield f"trial {number}: {values} expected, found {after.trials.get(number)}"


def judge_said(code: int | None, output: str) -> list[str]:
    """Judge whether the full disk was named clearly."""
    if "Traceback" in output:
        return [f"no traceback expected, found one: {output.strip().splitlines()[-1][:200]}"]
    if not any(words in output for words in _SAYING):
        return [f"that the disk is full expected, found code {code} and: {output.strip()[-200:]!r}"]
    return []


def judge_end(kind: Kind, after: State, wanted: list[dict[str, float]]) -> Iterator[str]:
    """Judge whether it continued and ended as if the disk had never been full.

    Args:
        wanted: the rows of a run on a disk that has space.
    """
    if after.fault:
        yield after.fault
    missing = sorted(_LEAVES.get(kind, set()) - set(after.files))
    yield from (f"{name} expected in the end, found none" for name in missing)
    if kind in _STUDIES:
        if sorted(after.trials) != [str(number) for number in range(TRIALS)]:
            yield f"{TRIALS} finished trials expected, found {after.trials}"
        return
    if list(after.outcomes.values()) != ["completed"]:
        yield f"one completed run expected, found {after.outcomes}"
    if list(after.epochs.values()) != [EPOCHS]:
        yield f"a checkpoint of epoch {EPOCHS} expected, found {after.epochs}"
    if list(after.rows.values()) != [wanted]:
        yield "the rows of a run without a fault expected, found others"


_STUDIES = ("study", "workers")
_LEAVES: dict[Kind, set[str]] = {
    **{kind: {"report.html", "leaderboard.csv"} for kind in _STUDIES},
    "evaluate": {"metrics.json"},
}


def _finished(database: Path) -> dict[str, float]:
    """The values of the finished trials, from a database that is whole; nothing where there is none.

    Raises:
        ValueError: it isn't whole.
    """
    if not database.exists():
        return {}
    # Read by SQLite itself: Optuna would create missing tables.
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        (check,) = connection.execute("PRAGMA integrity_check").fetchone()
        if check != "ok":
            raise ValueError(str(check))
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trial_values'").fetchone():
            return {}
        rows = connection.execute(
            "SELECT number, value FROM trials JOIN trial_values USING (trial_id) WHERE state = 'COMPLETE'"
        )
        return {str(number): float(value) for number, value in rows}


def _try(bench: Bench, point: Point, wanted: Rows, tally: Tally) -> None:
    """Fill the disk up at a point; count what was lost, had no clear message, or did not continue."""
    folder, what = bench.folder("disk"), f"full at {point.what}"
    _write(folder)

    def take(figure: str, wrong: Iterable[str]) -> None:
        lines = list(wrong)
        tally.add(figure, len(lines))
        tally.take(what, lines)

    with SmallDisk(bench, folder) as disk:
        if point.kind == "evaluate":
            trained = ("--run", str(folder / "run.yaml"), "--quiet")
            disk.fork(folder, as_main, bench.main, trained).done(_PATIENCE)
        process = disk.fork(folder, _until_full, bench.main, point, folder)
        until(lambda: (folder / "before.json").exists() or not process.alive, _PATIENCE)
        until(lambda: not process.alive, _WAITS)
        # Without this file the point was never reached, and the attempt proves nothing.
        before = _read(folder / "before.json")
        if before is None:
            end_group(process.pid)
            output = process.done().output[-300:]
            take("without a clear message", [f"it to be written expected, found that it is not: {output!r}"])
            return
        if process.alive:  # it waits for space
            disk.fork(folder, free, disk.place).done()
        # Judge in this order: what it printed, what was lost, and with space again, whether it continues.
        done = process.done(_PATIENCE)
        take("without a clear message", judge_said(done.code, done.output))
        take("lost", judge_kept(before, _look(disk, folder, "after.json")))
        disk.fork(folder, free, disk.place).done()
        if done.code != 0 or point.kind in _STUDIES:
            again = disk.fork(folder, _again, bench.main, point.kind, folder).done(_PATIENCE)
            if again.code != 0:
                output = again.output[-300:]
                take("not continued", [f"0 expected with space again, found {again.code}: {output!r}"])
        take("not continued", judge_end(point.kind, _look(disk, folder, "end.json"), wanted[point.kind]))


def _until_full(main: Path, point: Point, folder: Path) -> None:
    """The command, on a disk that is full from a point on; what was saved by then is noted elsewhere."""
    here = Path.cwd()

    def now() -> None:
        _note_state(here, folder / "before.json")
        fill(here, point.room)

    fill_at_opening(point.file, point.time, now)
    try:
        as_main(main, _arguments(point.kind, folder))
    except Exception:  # noqa: BLE001 - what the interpreter does at its end, before the console is closed
        traceback.print_exc()
        raise SystemExit(1) from None


def _again(main: Path, kind: Kind, folder: Path) -> None:
    """Repeat the command, or resume the run that was started."""
    begun = [path.parent for path in Path("runs").glob(f"*/{run_folder.CONFIG}")]
    if begun and kind != "evaluate":
        as_main(main, ("--resume", str(begun[0]), "--quiet"))
    else:
        as_main(main, _arguments(kind, folder))


def _arguments(kind: Kind, folder: Path) -> tuple[str, ...]:
    if kind in _STUDIES:
        return ("--optimize", str(folder / f"{kind}.yaml"))
    if kind == "evaluate":
        return ("--evaluate", str(next(Path("runs").iterdir())))
    return ("--run", str(folder / f"{kind}.yaml"), "--quiet")


def _look(disk: SmallDisk, folder: Path, name: str) -> State:
    done = disk.fork(folder, _note_state, disk.place, folder / name).done()
    found = _read(folder / name)
    assert found is not None, f"{name}: {done.output[-500:]}"
    return found


def _note_state(place: Path, path: Path) -> None:
    path.write_text(json.dumps(asdict(state_of(place))), encoding="utf-8")


def _read(path: Path) -> State | None:
    return State(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def _reference(bench: Bench) -> Rows:
    """The rows of runs on a disk that has space."""
    folder = bench.folder("disk-reference")
    _write(folder)
    found = {}
    for kind in ("run", "pictures"):
        (here := folder / kind).mkdir()
        bench.warm(here, "--run", str(folder / f"{kind}.yaml"), "--quiet").done()
        (found[kind],) = state_of(here).rows.values()
    found |= {kind: [] for kind in _STUDIES}
    return {**found, "evaluate": found["run"], "mirrors": found["pictures"]}


def _write(folder: Path) -> None:
    """The files of the commands."""
    plain = small_run(net={"target": "model.MLP", "width": 64, "layers": 2}, epochs=EPOCHS)
    many = {f"mean_absolute_error_number_{i:03}": "lab.metrics.MAE" for i in range(_METRICS)}
    study: dict[str, object] = {
        "study_name": "small", "run": plain, "n_trials": TRIALS, "isolation": "none",
        "sampler": {"target": "optuna.samplers.RandomSampler"},
        "search_space": {"optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    }  # fmt: skip
    files: dict[str, dict[str, object]] = {
        "run": {**plain, "metrics": many},
        "pictures": {**plain, "pictures": {"enabled": True}},
        "mirrors": {**plain, "trackers": [{"type": "tensorboard"}, {"type": "wandb", "mode": "offline"}]},
        "study": study,
        "workers": {**study, "isolation": "process"},
    }
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
