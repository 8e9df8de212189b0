"""A checkpoint is whole, or noticed to be damaged; loading it executes nothing."""

import hashlib
import multiprocessing
import os
import pickle
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from lab import checkpoint
from lab.checkpoint import CheckpointError, collect, load, load_latest, restore, save, sweep
from lab.store import file_io
from tests.conftest import ROOT


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(torch.tensor),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b) and bool(a == b)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(max_size=5).filter(lambda key: key != "format"), plain, max_size=4))
def test_nested_states_come_back(tmp_path: Path, content: dict[str, Any]) -> None:
    save(tmp_path / "a.pt", content)
    found = load(tmp_path / "a.pt")
    assert found.pop("format") == checkpoint.FORMAT
    assert equal(found, content)
    assert names(tmp_path) == ["a.pt"]


def test_parts_come_back_and_plain_torch_reads_the_file(tmp_path: Path) -> None:
    model, optimizer = trained()
    save(tmp_path / "a.pt", collect({"model": model, "optimizer": optimizer, "ema": None}))
    content = torch.load(tmp_path / "a.pt", weights_only=True)
    assert set(content) == {"format", "model", "optimizer"}
    assert equal(dict(content["model"]), dict(model.state_dict()))
    other, other_optimizer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), None
    other_optimizer = torch.optim.Adam(other.parameters())
    restore({"model": other, "optimizer": other_optimizer, "ema": None}, load(tmp_path / "a.pt"))
    assert equal(dict(other.state_dict()), dict(model.state_dict()))
    assert equal(other_optimizer.state_dict(), optimizer.state_dict())


def test_a_missing_part_is_named_and_nothing_is_loaded() -> None:
    model, optimizer = trained()
    target = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="has no optimizer, ema"):
        restore({"model": target, "optimizer": optimizer, "ema": model}, {"model": model.state_dict()})
    assert equal(dict(target.state_dict()), before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    save(path, {"weights": torch.arange(40.0), "epoch": 3})
    return path.read_bytes()


def test_every_flipped_bit_is_noticed(tmp_path: Path, whole: bytes) -> None:
    path, size = tmp_path / "a.pt", len(whole)
    rng = random.Random(0)
    tail = range((size - 100) * 8, size * 8, 7)  # end record, comment's length, checksum
    flips = [rng.randrange(size * 8) for _ in range(200)] + list(tail) + [0, size * 8 - 1]
    for bit in flips:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(damaged))
        with pytest.raises(CheckpointError, match=r"checksum|truncated"):
            load(path)
    path.write_bytes(whole)
    assert equal(load(path)["weights"], torch.arange(40.0))


def test_every_truncation_and_everything_appended_is_noticed(tmp_path: Path, whole: bytes) -> None:
    path, size = tmp_path / "a.pt", len(whole)
    lengths = {0, 1, 21, 22, 70, 71, 92, 93, 94, size - 71, size - 72, size - 1, *range(0, size, size // 150)}
    longer = [whole + b"\0", b"\0" + whole, whole + whole[-71:]]
    for content in [*(whole[:length] for length in lengths), *longer]:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"a\.pt: (is truncated|has no checksum|its checksum)"):
            load(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "plain torch", "another version", "a list"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    match kind:
        case "folder":
            path.mkdir()
        case "text":
            path.write_text("hello " * 100)
        case "plain torch":
            torch.save({"format": checkpoint.FORMAT}, path)
        case "another version":
            with monkeypatch.context() as patch:
                patch.setattr(checkpoint, "FORMAT", 99)
                save(path, {"a": 1})
        case "a list":
            signed(path, [1, 2])
    with pytest.raises(CheckpointError, match=r"a\.pt: "):
        load(path)


def signed(path: Path, content: Any) -> None:
    """A file with a right checksum and any content, as an attacker could make it."""
    torch.save(content, path)
    raw = path.read_bytes()
    comment = b"sha256=" + hashlib.sha256(raw).hexdigest().encode()
    path.write_bytes(raw[:-2] + struct.pack("<H", len(comment)) + comment)


class Hostile:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self._target,)


class Shell:
    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self._target}'",)


@pytest.mark.parametrize("hostile", [Hostile, Shell])
def test_nothing_is_executed(tmp_path: Path, hostile: Any) -> None:
    target, path = tmp_path / "executed", tmp_path / "a.pt"
    signed(path, {"format": checkpoint.FORMAT, "model": hostile(target)})
    with zipfile.ZipFile(path) as archive:  # the trap works where it is sprung
        pickle.loads(archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))))
    assert target.exists()
    target.unlink()
    with pytest.raises(CheckpointError, match="is not a checkpoint of plain data"):
        load(path)
    assert not target.exists()


def test_synced_before_it_gets_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a power cut needs, and no kill shows."""
    path, synced, fsync = tmp_path / "a.pt", [], os.fsync

    def spy(handle: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(handle).st_mode), path.exists()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", spy)
    save(path, {"epoch": 1})
    assert synced == [(False, False), (True, True)]


def test_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(path, {"epoch": 1})
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        save(path, {"epoch": 2, "unpicklable": lambda: None})
    assert load(path)["epoch"] == 1
    assert names(tmp_path) == ["a.pt"]


@pytest.mark.slow
def test_a_signal_in_the_middle_of_a_write_is_raised_and_ends_nothing_else(tmp_path: Path) -> None:
    """In a process of its own: torch's writer ended it where it was broken into, or said RuntimeError."""
    (tmp_path / "signals.py").write_text(
        "import random, signal, time, torch\n"
        "from pathlib import Path\n"
        "from lab import checkpoint\n"
        "class Signal(BaseException): ...\n"
        "def broken(*_):\n"
        "    raise Signal\n"
        "signal.signal(signal.SIGALRM, broken)\n"
        "content = {str(i): torch.zeros(64, 64) for i in range(60)}\n"
        "raised = 0\n"
        "for _ in range(400):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 8e-3))\n"
        "        checkpoint.save(Path('a.pt'), content)\n"
        "        time.sleep(0.01)\n"
        "    except Signal:\n"
        "        raised += 1\n"
        "assert raised > 300, raised  # Python swallows one that comes within a `__del__`\n"
        "checkpoint.sweep(Path())  # one that came as the file was being made\n"
        "print(len(checkpoint.load(Path('a.pt'))), len(list(Path().iterdir())))\n"
    )
    done = subprocess.run(
        [sys.executable, "signals.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "61 2\n"), done.stderr[-500:]


def test_a_disk_that_is_full_is_told_by_the_system_and_not_by_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save(path, {"epoch": 1})
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**15, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            save(path, {"epoch": 2, "weights": torch.zeros(2**15)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)
    assert load(path)["epoch"] == 1 and names(tmp_path) == ["a.pt"]


def test_latest_is_last_then_prev(tmp_path: Path) -> None:
    last, prev = tmp_path / "last.pt", tmp_path / "prev.pt"
    with pytest.raises(CheckpointError, match=r"last\.pt: there is no such.*; .*prev\.pt: there is no such"):
        load_latest(tmp_path)
    save(prev, {"epoch": 1})
    save(last, {"epoch": 2})
    content, path, faults = load_latest(tmp_path)
    assert (content["epoch"], path, faults) == (2, last, [])
    last.write_bytes(last.read_bytes()[:-1])
    content, path, faults = load_latest(tmp_path)
    assert (content["epoch"], path) == (1, prev)
    assert len(faults) == 1 and "last.pt: has no checksum" in faults[0]
    last.unlink()
    assert load_latest(tmp_path)[0]["epoch"] == 1
    prev.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"prev\.pt: is truncated"):
        load_latest(tmp_path)


def test_link_is_free_and_survives_the_next_save(tmp_path: Path) -> None:
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    save(last, {"epoch": 1})
    file_io.link(last, best)
    assert last.stat().st_ino == best.stat().st_ino
    save(last, {"epoch": 2})
    assert [load(last)["epoch"], load(best)["epoch"]] == [2, 1]
    file_io.link(last, best)
    assert load(best)["epoch"] == 2
    file_io.link(last, best)  # what is one file already
    assert names(tmp_path) == ["best.pt", "last.pt"]


def test_link_copies_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise PermissionError(1, "Operation not permitted")  # what FAT and some network file systems answer

    monkeypatch.setattr(os, "link", refuse)
    last, best = tmp_path / "last.pt", tmp_path / "best.pt"
    save(last, {"epoch": 1})
    file_io.link(last, best)
    assert last.stat().st_ino != best.stat().st_ino
    assert load(best)["epoch"] == 1
    assert names(tmp_path) == ["best.pt", "last.pt"]


def _save_forever(folder: Path, epoch: int, pipe: Any) -> None:
    last = folder / "last.pt"
    while True:
        epoch += 1
        if last.exists():
            file_io.link(last, folder / "prev.pt")
        save(last, {"epoch": epoch, "weights": torch.full((750_000,), float(epoch))})
        pipe.send(epoch)


def test_killed_while_saving(tmp_path: Path) -> None:
    """What is there always loads, and is what was reported last or the one after it."""
    context, rng, epoch, torn = multiprocessing.get_context("fork"), random.Random(0), 0, 0
    for _ in range(12):
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=_save_forever, args=(tmp_path, epoch, sending))
        process.start()
        sending.close()
        epoch = receiving.recv()
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        while receiving.poll():
            try:
                epoch = receiving.recv()
            except EOFError:
                break
        torn += any(name.endswith(".tmp") for name in names(tmp_path))
        content, path, faults = load_latest(tmp_path)
        assert (path.name, faults) == ("last.pt", [])
        assert content["epoch"] in (epoch, epoch + 1)
        assert torch.equal(content["weights"], torch.full((750_000,), float(content["epoch"])))
        if (tmp_path / "prev.pt").exists():
            load(tmp_path / "prev.pt")
        sweep(tmp_path)
        assert set(names(tmp_path)) <= {"last.pt", "prev.pt"}
        epoch = content["epoch"]
    assert torn > 3  # most of the time goes into writing, so that the kills did come in its middle


class Numpy:
    """A schedule in NumPy, with a function beside it, as a scheduler keeps it."""

    def __init__(self) -> None:
        self.table = np.linspace(1.0, 0.1, 5)
        self.function = np.minimum

    def __call__(self, epoch: int) -> Any:
        return self.function(self.table[min(epoch, 4)], 1.0)


def schedule() -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.LambdaLR]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.5)
    optimizer.param_groups[0]["rule"] = max  # an option that is a function
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, Numpy())


def test_numbers_of_numpy_in_a_schedule_are_kept(tmp_path: Path) -> None:
    optimizer, scheduler = schedule()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert isinstance(optimizer.param_groups[0]["lr"], np.float64)
    parts = {"optimizer": optimizer, "scheduler": scheduler}
    assert checkpoint.unkeepable(parts) == {}
    checkpoint.save(tmp_path / "a.pt", checkpoint.collect(parts))
    other, resumed = schedule()
    checkpoint.restore({"optimizer": other, "scheduler": resumed}, checkpoint.load(tmp_path / "a.pt"))
    assert other.param_groups[0]["rule"] is max
    assert isinstance(resumed.lr_lambdas[0].table, np.ndarray)
    for each in (scheduler, resumed):
        each.step()
    assert resumed.get_last_lr() == scheduler.get_last_lr() == [0.5 * 0.1]


def test_what_is_no_plain_data_is_named_and_left_out(tmp_path: Path) -> None:
    optimizer, scheduler = schedule()
    scheduler.source = iter(())  # type: ignore[attr-defined]
    scheduler.inner = {"a": [object(), 1], "b": 2}  # type: ignore[attr-defined]
    parts = {"optimizer": optimizer, "scheduler": scheduler}
    assert checkpoint.unkeepable(parts) == {
        "scheduler": ["source is of type tuple_iterator", "inner.a[0] is of type object"]
    }
    checkpoint.save(tmp_path / "a.pt", checkpoint.collect(parts))
    assert checkpoint.load(tmp_path / "a.pt")["scheduler"]["inner"] == {"b": 2}


def test_the_state_of_a_module_keeps_its_metadata() -> None:
    state = checkpoint.collect({"model": torch.nn.BatchNorm1d(2)})["model"]
    assert state._metadata[""]["version"] == 2


def test_a_part_that_does_not_fit_is_named() -> None:
    state = checkpoint.collect({"model": torch.nn.Linear(2, 2)})
    with pytest.raises(
        CheckpointError, match=r"the checkpoint's model doesn't fit \(RuntimeError: .*size mismatch"
    ):
        checkpoint.restore({"model": torch.nn.Linear(3, 2)}, state)
