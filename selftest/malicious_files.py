"""Files of strangers: hostile configs, checkpoints, databases and data sets, of which nothing is executed."""

import ast
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import yaml
from PIL import Image

from lab.store import run_folder
from selftest import malicious_pickles
from selftest.bench import Bench, Done, Process, in_order
from selftest.malicious_imports import INTRUDER, MARKER, PAYLOADS, Payload
from selftest.studies import described, run_text, small_run
from selftest.verdict import Tally, Verdict, judge_command

_PATIENCE = 120.0  # seconds for a command
_CONFIGS = described(__file__)
# What is never called; what is called only with this argument, and what with that.
_LOOSE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open",
          "joblib.load", "dill.load", "dill.loads", "yaml.load", "yaml.unsafe_load",
          "torch.hub.load", "eval", "exec", "os.system", "os.popen", "pandas.read_pickle"}  # fmt: skip
_ONLY_WITH = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}


def import_payloads(bench: Bench, count: int) -> Verdict:
    """Configs whose import paths lead to other doors, each by the real command."""
    elsewhere = bench.folder("elsewhere")
    payloads = PAYLOADS[:count]
    tally = Tally({"executed": 0, "payloads": len(payloads), "wrong": 0})

    def begun() -> Iterator[tuple[tuple[Payload, Path], Process]]:
        for payload in payloads:
            folder = bench.folder("payload")
            _plant(folder, elsewhere)
            path = payload.write(folder)
            environment = {"PYTHONPATH": str(elsewhere), "STRANGER": str(folder / MARKER)}
            process = bench.start(folder, *payload.arguments(path), environment=environment)
            yield (payload, folder), process

    # The marker is what a payload makes when any of its code runs.
    for (payload, folder), done in in_order(begun()):
        executed = (folder / MARKER).exists()
        tally.add("executed", executed)
        tally.take(payload.name, judge_payload(payload, done, executed))
    return tally.verdict()


def judge_payload(payload: Payload, done: Done, executed: bool) -> Iterator[str]:
    """Judge how a command took a payload."""
    yield from judge_hostile(done, executed, 2, payload.wanted)
    refusal = next((line for line in done.err.splitlines() if payload.wanted in line), "")
    if payload.verb not in ("predict", "evaluate") and not re.search(r"\.yaml:\d+: |--set ", refusal):
        yield f"its line in the file expected, found {refusal.strip()}"


def judge_hostile(done: Done, executed: bool, code: int, words: str) -> Iterator[str]:
    """Judge how a command took a stranger's input: nothing of it runs, and the command ends as it should."""
    if executed:
        yield "refused expected, found it executed"
    yield from judge_command(done, (code,), words)


def _plant(folder: Path, elsewhere: Path) -> None:
    """Write what the payloads would load: a pickle, an array of objects, a hub's module, one on the path."""
    marks = "import os\nfrom pathlib import Path\nPath(os.environ['STRANGER']).touch()\n"
    (elsewhere / f"{INTRUDER}.py").write_text(f"{marks}class Net: pass\nclass Task: pass\n")
    (folder / "hubconf.py").write_text(f"{marks}def net(): pass\n")
    (folder / "evil.pt").write_bytes(malicious_pickles.calling("os", "system", f"touch {folder / MARKER}"))
    (folder / "evil.npy").write_bytes(malicious_pickles.array_of_objects(f"touch {folder / MARKER}"))
    (folder / "evil.yaml").write_text("criterion: os.system\n")


def hostile_files(bench: Bench, count: int) -> Verdict:
    """Checkpoints before every command that reads one; a study's database; the pickles of a data set."""
    checkpoints = list(malicious_pickles.CHECKPOINTS.items())[:count]
    runs, loose = true_runs(bench), loose_reads(bench.main.parent)
    read = {"executed": 0, "checkpoints": len(checkpoints), "readings": 0}
    tally = Tally({**read, "loose reads in the sources": len(loose), "wrong": 0})
    doors = (_at_every_door(bench, runs, *each) for each in checkpoints)
    for end in chain(*doors, _poisoned(bench, runs), _database(bench), _data_set(bench)):
        executed = (end.folder / MARKER).exists()
        tally.add("readings")
        tally.add("executed", executed)
        tally.take(end.what, judge_hostile(end.done, executed, end.code, end.words))
    tally.broken += loose
    return tally.verdict()


class End(NamedTuple):
    """The end of a command that was given a hostile file, and its right exit code and words."""

    what: str
    code: int
    words: str
    folder: Path
    done: Done


# What is read by which command, in a copy of a true run.
DOORS: Mapping[str, tuple[str, ...]] = {
    "--resume": ("--resume", "run", "--set", "epochs=2", "--quiet"),
    "--predict": ("--predict", "run", "--input", "images", "--output", "predicted", "--quiet"),
    "--evaluate": ("--evaluate", "run"),
    "--export": ("--export", "safetensors", "run", "--input", "images"),
    "--predict of best/": ("--predict", "best", "--input", "images", "--output", "again", "--quiet"),
}


def true_runs(bench: Bench) -> Path:
    """A folder with a true run, the same as a study's `best/`, and an image."""
    folder = bench.folder("true")
    (folder / "run.yaml").write_text(run_text(**_CONFIGS["run"]))
    bench.warm(folder, "--run", "run.yaml", "--quiet").done(_PATIENCE)
    (made,) = (folder / "runs").iterdir()
    made.rename(folder / "run")
    (folder / "best").mkdir()
    shutil.copy(folder / "run" / run_folder.CONFIG, folder / "best")
    shutil.copy(folder / "run" / run_folder.CHECKPOINTS / "best.pt", folder / "best")
    (folder / "images").mkdir()
    Image.new("L", (32, 32), 90).save(folder / "images" / "a.png")
    return folder


def _at_every_door(bench: Bench, runs: Path, name: str, make: malicious_pickles.Make) -> Iterator[End]:
    """Give each command a checkpoint, side by side in folders of their own."""
    true = malicious_pickles.Entries.read((runs / "best" / "best.pt").read_bytes())

    def begun() -> Iterator[tuple[tuple[str, Path], Process]]:
        for door, arguments in DOORS.items():
            folder = bench.folder("door")
            shutil.copytree(runs, folder, dirs_exist_ok=True)
            content = malicious_pickles.sealed(make(true, f"touch {folder / MARKER}"))
            for path in folder.rglob("*.pt"):
                path.write_bytes(content)
            yield (f"{name}, {door}", folder), bench.warm(folder, *arguments)

    for (what, folder), done in in_order(begun(), _PATIENCE):
        yield End(what, 2, ".pt: ", folder, done)


def _poisoned(bench: Bench, runs: Path) -> Iterator[End]:
    """A sound checkpoint whose own config, by which its network is built, names another door."""
    folder = bench.folder("poisoned")
    shutil.copytree(runs, folder, dirs_exist_ok=True)
    bench.fork(folder, _poison, Path("best/best.pt"), f"touch {folder / MARKER}").done(_PATIENCE)
    done = bench.warm(folder, *DOORS["--predict of best/"]).done(_PATIENCE)
    yield End("a config within a checkpoint", 2, "'os.system' may not be named", folder, done)


def _poison(path: Path, command: str) -> None:
    from lab import checkpoint

    content = checkpoint.load(path)
    content["config"]["net"] = {"target": "os.system", "command": command}
    checkpoint.save(path, content)


def _database(bench: Bench) -> Iterator[End]:
    """A study of CMA-ES whose database got pickles, where Optuna keeps its optimizer and elsewhere."""
    folder = bench.folder("database")
    (folder / "study.yaml").write_text(yaml.safe_dump(_CONFIGS["study"] | {"run": small_run()}))
    bench.warm(folder, "--optimize", "study.yaml", "--quiet").done(_PATIENCE)
    spoil(folder / "studies.db", f"touch {folder / MARKER}")
    for arguments in (
        ("--optimize", "study.yaml", "--set", "n_trials=5", "--quiet"),
        ("--optimize", "study.yaml", "--set", "n_trials=5", "--fork", "other", "--quiet"),
        ("--report", "hostile"),
    ):
        done = bench.warm(folder, *arguments).done(_PATIENCE)
        yield End(f"a hostile studies.db, {' '.join(arguments)}", 0, "hostile", folder, done)


def spoil(database: Path, command: str) -> None:
    """Write pickles where Optuna keeps that of its optimizer, and into all other attributes."""
    evil = json.dumps(malicious_pickles.calling("os", "system", command).hex())
    names = [f"{kind}optimizer:0" for kind in ("cma:", "sepcma:", "cmawm:")]
    with closing(sqlite3.connect(database)) as connection, connection:
        for owner, owners in (("trial", "trials"), ("study", "studies")):
            for kind, name in product(("system", "user"), names):
                connection.execute(
                    f"INSERT INTO {owner}_{kind}_attributes ({owner}_id, key, value_json) "
                    f"SELECT {owner}_id, ?, ? FROM {owners}",
                    (name, evil),
                )


def _data_set(bench: Bench) -> Iterator[End]:
    """The pickles that Action Genome is published as."""
    codes = {"a call": malicious_pickles.system, "a name with dots": malicious_pickles.dotted}
    for name, code in codes.items():
        folder = bench.folder("genome")
        evil = code(f"touch {folder / MARKER}")
        (folder / "run.yaml").write_text(run_text(**_CONFIGS["genome"]))
        names = "\n".join(["person", *(f"thing{letter}" for letter in "abcdefghijkl")])
        for listed in ("object_classes.txt", "relationship_classes.txt"):
            (folder / listed).write_text(names)
        for place, content in (("person_bbox.pkl", evil), ("object_bbox_and_relationship.pkl", b"}" + evil)):
            (folder / place).write_bytes(malicious_pickles.PROTO + content + malicious_pickles.STOP)
        done = bench.warm(folder, "--run", "run.yaml", "--quiet").done(_PATIENCE)
        yield End(f"{name} in a data set's pickles", 2, ".pkl: holds ", folder, done)


def loose_reads(root: Path) -> list[str]:
    """Calls in the project's own sources that could execute what they read, with file and line."""
    files = [*root.glob("*.py"), *(root / "lab").rglob("*.py"), *(root / "selftest").rglob("*.py")]
    return [
        f"{path.relative_to(root)}:{line}: {what}"
        for path in sorted(files)
        for line, what in loose_calls(path.read_text(encoding="utf-8"))
    ]


def loose_calls(source: str) -> Iterator[tuple[int, str]]:
    """The loose reads of one source: line and call."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        wanted = _ONLY_WITH.get(name)
        if name in _LOOSE or (wanted is not None and given.get(wanted[0]) != wanted[1]):
            yield node.lineno, f"{name}({', '.join(f'{key}={value}' for key, value in given.items())})"
