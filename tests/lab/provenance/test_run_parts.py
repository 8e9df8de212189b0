"""`provenance.json` over the parts of a run: what is kept, how much of it, for whom, and old files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.config import RunConfig
from lab.provenance import run_parts
from lab.provenance.code_record import key_of
from lab.provenance.run_parts import DAMAGED, History
from lab.trackers.jsonl_events import read_events
from util import run


def part(number: int, *texts: str, diff: str = "") -> dict[str, Any]:
    plain = dict.fromkeys(run_parts._PLAIN)
    repository = {"folder": "/p", "commit": f"c{number}", "diff": key_of(diff) if diff else ""}
    return {
        **plain,
        "command": ["python", "main.py", str(number)],
        "first_epoch": number,
        "tool": {"repository": "/p"},
        "repositories": [repository],
        "code": [{"module": f"m{index}", "text": key_of(text)} for index, text in enumerate(texts)],
        "yaml": None,
    }


def keyed(*texts: str) -> dict[str, str]:
    return {key_of(text): text for text in texts}


def test_parts_are_added_and_texts_stand_once(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    for number in (1, 2, 3):
        found, notes = History.of(path, begun=number > 1)
        assert not notes
        same = "the same difference\n" * 50
        texts = ("first\n", f"text {number}\n")
        found.add(part(number, *texts, diff=same), keyed(*texts, same))
        found.write(path)
    data = json.loads(path.read_text())
    assert [each["first_epoch"] for each in data["parts"]] == [1, 2, 3]
    assert [each["repositories"][0]["commit"] for each in data["parts"]] == ["c1", "c2", "c3"]
    assert data["command"] == ["python", "main.py", "3"] and data["git"]["commit"] == "c3"  # the newest
    assert path.read_text().count("the same difference\\n") == 50
    assert sorted(data["texts"].values())[:3] == ["first\n", "text 1\n", "text 2\n"]
    assert data["texts_left_out"] == [] and data["parts_left_out"] == 0


def test_the_newest_part_is_renewed(tmp_path: Path) -> None:
    found = History()
    found.add(part(1), {})
    found.add(part(2), {})
    found.renew(part(2, "late\n"), keyed("late\n"))
    found.write(tmp_path / "provenance.json")
    data = json.loads((tmp_path / "provenance.json").read_text())
    assert [len(each["code"]) for each in data["parts"]] == [0, 1] and "late\n" in data["texts"].values()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "provenance.json"
    path.write_text(json.dumps({"command": ["a"], "git": None}))
    path.chmod(0o666)  # as an earlier version left it
    before = os.umask(umask)
    try:
        found, _ = History.of(path, begun=True)
        found.add(part(1), {})
        found.write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_left_by_a_killed_process_lends_it_no_mode(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    left = tmp_path / f".provenance.json.{os.getpid()}.tmp"
    left.write_text("half")
    left.chmod(0o666)
    found = History()
    found.add(part(1), {})
    found.write(path)
    assert path.stat().st_mode & 0o777 == 0o600 and not left.exists()


def test_an_older_file_becomes_the_first_part(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    old = {
        "time": "2026-01-01T00:00:00+00:00", "command": ["python", "main.py", "--run", "a.yaml"], "seed": 3,
        "packages": {"torch": "2.9.0"}, "modules": ["exp"],
        "git": {"commit": "abc", "branch": "main", "dirty": True, "diff": "+x = 1\n", "untracked": ["a"]},
    }  # fmt: skip
    path.write_text(json.dumps(old))
    found, notes = History.of(path, begun=True)
    found.add(part(4), {})
    found.write(path)
    data = json.loads(path.read_text())
    first = data["parts"][0]
    assert not notes and len(data["parts"]) == 2
    assert all(first[name] == old[name] for name in ("time", "command", "packages", "seed"))
    assert first["git"]["commit"] == "abc" and data["texts"][first["git"]["diff"]] == "+x = 1\n"
    assert "modules" not in first


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"parts": []}', b'{"parts": {}}', b'{"parts": [1]}',
        b'"text"', b"\xff\xfe",
        b'{"parts": [{}], "texts": []}', b'{"parts": [{}], "texts": {"a": 1}}', b"[" * 100_000,
        b'{"parts": [{}], "parts_left_out": "x"}',
    ],
)  # fmt: skip
def test_one_that_cannot_be_read_is_kept_and_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "provenance.json"
    path.write_bytes(content)
    found, [note] = History.of(path, begun=True)
    assert found == History() and note.level == "warning" and DAMAGED in note.message
    assert (tmp_path / DAMAGED).read_bytes() == content and not path.exists()


def test_one_that_is_missing_is_named_where_there_were_parts(tmp_path: Path) -> None:
    assert History.of(tmp_path / "provenance.json", begun=False) == (History(), [])
    found, [note] = History.of(tmp_path / "provenance.json", begun=True)
    assert found == History() and "is not there" in note.message and note.level == "warning"


def test_many_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_parts, "MAX_PARTS", 4)
    path = tmp_path / "provenance.json"
    for number in range(1, 11):
        found, _ = History.of(path, begun=number > 1)
        found.add(part(number), {})
        found.write(path)
    data = json.loads(path.read_text())
    assert [each["first_epoch"] for each in data["parts"]] == [1, 8, 9, 10] and data["parts_left_out"] == 6


def test_many_texts_are_bounded_and_what_is_left_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_parts, "MAX_ALL", 35)
    path = tmp_path / "provenance.json"
    texts = [f"{number}" * 10 for number in range(6)]
    for number, text in enumerate(texts):
        found, _ = History.of(path, begun=number > 0)
        found.add(part(number, text), keyed(text))
        found.write(path)
    data = json.loads(path.read_text())
    assert list(data["texts"].values()) == [texts[5], texts[0], texts[4]]
    assert data["texts_left_out"] == sorted(key_of(text) for text in texts[1:4])


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "provenance.json"
    found = History()
    found.add(part(1, "x = '\udcff'\n") | {"command": ["caf\udce9.yaml"]}, keyed("x = '\udcff'\n"))
    found.write(path)
    assert json.loads(path.read_bytes())["command"] == ["caf\udce9.yaml"]
    assert History.of(path, begun=True)[0].texts == keyed("x = '\udcff'\n")


def test_versions_that_changed_before_a_run_was_resumed_are_named(
    config: Callable[..., RunConfig], workplace: Path
) -> None:
    folder = run(config(epochs=1), console="quiet").run_dir
    path = folder / "provenance.json"
    record = json.loads(path.read_text())
    new = {"Python": record["python"], "torch": record["packages"]["torch"]}
    part = record["parts"][-1]
    part["python"] = part["packages"]["torch"] = "1.2.3"
    path.write_text(json.dumps(record))
    for epochs, notes in ((2, 1), (3, 1)):  # the second time nothing has changed
        run(config(epochs=epochs), run_dir=folder, resume=True, console="quiet")
        texts = [each["message"] for each in read_events(folder) if each["event"] == "note"]
        changes = ", ".join(f"{name} 1.2.3 -> {version}" for name, version in new.items())
        expected = f"versions differ from those of the epochs before: {changes}"
        assert texts.count(expected) == notes == sum("versions" in text for text in texts)
    parts = json.loads(path.read_text())["parts"]
    assert [each["packages"]["torch"] for each in parts] == ["1.2.3", new["torch"], new["torch"]]
