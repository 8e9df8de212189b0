"""Run folders: nobody shares one, files appear whole, and locks end with their process."""

import errno
import fcntl
import json
import math
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lab.store import file_io, run_folder

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 11, 21, 12, 0, 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unet_resnet18", "unet_resnet18"),
        ("U-Net v2.1", "U-Net-v2.1"),
        ("../../etc/passwd", "etc-passwd"),
        ("/absolute", "absolute"),
        ("..", "run"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("", "run"),
        ("  ", "run"),
        ("naïve Zürich", "naive-Zurich"),
        ("细胞", "run"),
        ("a\0b\nc", "a-b-c"),
        ("a\\b:c*d?", "a-b-c-d"),
        ("x" * 300, "x" * 80),
        ("x" * 79 + " tail", "x" * 79),
    ],
)
def test_slug(name: str, expected: str) -> None:
    assert run_folder.slug(name) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=120))
@example("." * 100)
@example("a" * 79 + "./../")
def test_slug_is_one_safe_segment(name: str) -> None:
    slug = run_folder.slug(name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", slug) and slug[-1] not in "-."
    assert run_folder.slug(slug) == slug
    assert Path("runs", slug).name == slug


def test_create_counts_on_where_a_name_is_taken(tmp_path: Path) -> None:
    names = [run_folder.create(tmp_path / "runs", "a b", NOON).name for _ in range(3)]
    assert names == ["20261121-120000_a-b", "20261121-120000_a-b-2", "20261121-120000_a-b-3"]


def _create_some(root: Path, barrier: Any, found: Any) -> None:
    barrier.wait()
    for _ in range(5):
        found.put(run_folder.create(root, "same", NOON).name)


def test_processes_in_the_same_second_get_folders_of_their_own(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(8), context.SimpleQueue()
    processes = [
        context.Process(target=_create_some, args=(tmp_path / "runs", barrier, found)) for _ in range(8)
    ]
    for process in processes:
        process.start()
    names = [found.get() for _ in range(40)]
    for process in processes:
        process.join()
    assert len(set(names)) == 40
    assert {path.name for path in (tmp_path / "runs").iterdir()} == set(names)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_name_that_is_no_text_is_written_with_its_bytes_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    file_io.atomic_write(tmp_path / "table.csv", f"{name},é\n")
    file_io.append(tmp_path / "table.csv", f"{name}\n")
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == "caf\\xe9.png,é\ncaf\\xe9.png\n"
    for text in (file_io.to_json({"name": name, "µ": "é"}), file_io.printed_json({"name": name, "µ": "é"})):
        assert json.loads(text.encode("utf-8")) == {"name": name, "µ": "é"}
    assert file_io.to_json({"µ": "é"}) == '{"µ": "é"}' and file_io.printed_json({"µ": "é"}).isascii()


@pytest.mark.parametrize("content", ["text é\n", b"\x00\xff"])
def test_atomic_write(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "new" / "file"
    file_io.atomic_write(path, "old")
    file_io.atomic_write(path, content)
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert names(path.parent) == ["file"]


def test_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file_io.atomic_write(path, "old")
    with pytest.raises(TypeError):
        file_io.atomic_write(path, 5)  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        file_io.atomic_write(tmp_path / "folder", "a folder can't be replaced by a file")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file", "folder"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file_io.atomic_write(path, "0" * 200_000)
    script = (
        "import sys; from pathlib import Path; from lab.store.run_folder import atomic_write\n"
        "while True:\n    for digit in '0123456789': atomic_write(Path(sys.argv[1]), digit * 200_000)"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=ROOT)
    try:
        seen = set()
        for _ in range(2000):
            text = path.read_text()
            assert len(text) == 200_000 and len(set(text)) == 1
            seen.add(text[0])
            if len(seen) > 3:
                break
    finally:
        writer.kill()
        writer.wait()


def test_to_json() -> None:
    data = {
        "nan": math.nan,
        "inf": [math.inf, -math.inf, 1.5],
        "path": Path("a/b"),
        "tuple": (1, True, None, "é"),
        3: {"nested": np.float64(0.25)},
    }
    text = file_io.to_json(data)
    assert json.loads(text) == {
        "nan": None,
        "inf": [None, None, 1.5],
        "path": "a/b",
        "tuple": [1, True, None, "é"],
        "3": {"nested": 0.25},
    }
    assert "é" in text and "\n" not in text and "NaN" not in text
    assert file_io.to_json({"a": 1}, indent=2) == '{\n  "a": 1\n}'


def test_to_csv() -> None:
    rows = [["x, y", 1234567, 1234567.0, None], ["é", True, 2 / 3, float("nan")]]
    text = file_io.to_csv(["a", "b", "c", "d"], rows)
    assert text == 'a,b,c,d\n"x, y",1234567,1.23457e+06,\né,True,0.666667,nan\n'


def test_summary_round_trip(tmp_path: Path) -> None:
    run_folder.write_summary(tmp_path, {"outcome": "running", "best": {"val_loss": math.nan}})
    summary = run_folder.read_summary(tmp_path)
    assert summary is not None
    assert (summary["run_id"], summary["pid"], summary["outcome"]) == (tmp_path.name, os.getpid(), "running")
    assert summary["best"] == {"val_loss": None} and summary["host"]


@pytest.mark.parametrize("content", [None, "", "{", "[1]", "null", "\ud800"])
def test_a_summary_that_cannot_be_read_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / run_folder.SUMMARY).write_bytes(content.encode("utf-8", "surrogatepass"))
    assert run_folder.read_summary(tmp_path) is None


def held(folder: Path) -> bool:
    with (folder / ".lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_lock_is_held_and_let_go(tmp_path: Path) -> None:
    with run_folder.lock(tmp_path):
        assert held(tmp_path)
        with pytest.raises(file_io.RunInUse, match="another process"), run_folder.lock(tmp_path):
            pass
        assert held(tmp_path)
    assert not held(tmp_path)
    with pytest.raises(KeyError), run_folder.lock(tmp_path):
        raise KeyError
    assert not held(tmp_path)


HOLDER = """
import os, sys, time
from pathlib import Path
from lab.store.run_folder import lock
with lock(Path(sys.argv[1])):
    child = os.fork()  # as a loader forks its workers
    if child == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_lock_ends_with_its_holder_even_where_its_children_live_on(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        assert held(tmp_path)
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it is alive
        with run_folder.lock(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_claimed_makes_a_new_folder_and_takes_an_empty_one_away(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with run_folder.acquire(None, root, "x") as folder:
        assert folder.parent == root and folder.name.endswith("_x") and held(folder)
    assert not folder.exists()
    with pytest.raises(KeyError), run_folder.acquire(None, root, "x"):
        raise KeyError
    assert list(root.iterdir()) == []


def test_claimed_keeps_what_was_written(tmp_path: Path) -> None:
    with run_folder.acquire(tmp_path / "given" / "deep", tmp_path, "x") as folder:
        (folder / "config.yaml").write_text("a: 1")
    assert (tmp_path / "given" / "deep" / "config.yaml").read_text() == "a: 1"


def test_claimed_by_another_is_left_alone(tmp_path: Path) -> None:
    """The other one may not have written anything yet."""
    folder = tmp_path / "run"
    with run_folder.acquire(folder, tmp_path, "x"):
        with pytest.raises(file_io.RunInUse), run_folder.acquire(folder, tmp_path, "x"):
            pass
        assert held(folder)
        (folder / "config.yaml").write_text("a: 1")
    assert folder.exists()


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "record.csv"
    file_io.append(path, "a\n")
    file_io.append(path, "ü\n")
    assert path.read_bytes() == "a\nü\n".encode()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            file_io.append(path, "a line that is too long\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == "a\nü\n".encode(), "the part that fitted was taken back"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_is_told_by_the_file_that_was_meant(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        file_io.append(Path("/dev/full"), "x")
    assert file_io.is_storage_fault(caught.value) and caught.value.filename == "/dev/full"
    with pytest.raises(OSError, match="No space left") as caught, file_io.atomic_open(tmp_path / "a.pt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (
        file_io.storage_message(caught.value)
        == f"the disk is full: {tmp_path / 'a.pt'}: No space left on device"
    )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError) as missing, file_io.atomic_open(tmp_path / "a.pt"):
        (tmp_path / "source").read_bytes()
    assert missing.value.filename == str(tmp_path / "source"), "that of another file keeps its name"
    assert not any(file_io.is_storage_fault(error, tmp_path) for error in (missing.value, ValueError(), None))


CODES = ("EPERM", "EACCES", "EROFS", "EIO", "ESTALE", "EMFILE", "ENFILE")


@pytest.mark.parametrize(
    ("codes", "file", "is_fault"),
    [
        (CODES, "run/metrics.csv", True),
        (CODES, "link/metrics.csv", True),
        (CODES, "run/../data/1.png", False),
        (CODES, "runner/1.png", False),
        (CODES, None, False),
        (CODES, f"{tempfile.gettempdir()}/tmpab12", True),
        (CODES, f"{tempfile.gettempdir()}/data/1.png", False),
        (("ENOSPC", "EDQUOT"), "data/1.png", True),
        (("ENOSPC", "EDQUOT"), None, True),
        (("ENOENT", "EISDIR", "EEXIST"), "run/metrics.csv", False),
    ],
)
def test_faults_of_the_storage_are_those_of_the_programs_own_files(
    tmp_path: Path, codes: Sequence[str], file: str | None, is_fault: bool
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    for code in codes:
        error = OSError(getattr(errno, code), "x", file and str(tmp_path / file))
        assert file_io.is_storage_fault(error, tmp_path / "run") == is_fault, code


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    for path in (outside, folder / "checkpoints", folder / "wandb" / "run-1"):
        path.mkdir(parents=True)
    (folder / "wandb" / "latest").symlink_to("run-1")  # as W&B makes it
    (folder / "again").symlink_to(folder)
    linked = tmp_path / "linked"
    linked.symlink_to(folder)  # the folder itself may be anywhere
    for place in (folder, linked):
        file_io.refuse_links(place)
    for name, target in (
        ("events.jsonl", outside / "events.jsonl"),  # which isn't there yet
        ("checkpoints/last.pt", Path("../../outside/last.pt")),
        ("wandb/run-1/logs", outside),
        (".lock", outside / "lock"),
    ):
        (folder / name).symlink_to(target)
        message = re.escape(
            f"{folder / name}: is a link that leads out of {folder}; nothing is written there"
        )
        with pytest.raises(file_io.Unwritable, match=message), run_folder.lock(folder):
            pass
        assert list(outside.iterdir()) == []
        (folder / name).unlink()
    (folder / "trial_00001").symlink_to(outside)
    with pytest.raises(file_io.Unwritable):
        file_io.refuse_links(folder, depth=1)
    file_io.refuse_links(tmp_path / "not there yet")
