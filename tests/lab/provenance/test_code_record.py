"""The record of a run's code in repositories of all kinds, and its notes on what it cannot hold."""

import hashlib
import importlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.config.module_locations import PROJECT
from lab.provenance import code_record
from lab.provenance.code_record import Code, key_of, notes_on
from lab.provenance.user_modules import imported
from tests.git_tools import alone, git, repository

SOURCE = "class Net: ...\n"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No module of another test is there, and no repository is found around the tests."""
    alone(monkeypatch)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve()))
    others = {module.name for module in imported(()) if not module.of_the_tool}
    hidden = {name: sys.modules.pop(name) for name in others}
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - before:
        del sys.modules[name]
    sys.modules.update(hidden)


def brought(folder: Path, *names: str) -> None:
    """Import modules from a folder."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    for name in names:
        importlib.import_module(name)


def recorded(*paths: str) -> tuple[dict[str, Any], dict[str, str], list[tuple[str, str]]]:
    """The modules by name with their texts, the repositories by folder, the notes; not the project's own."""
    found = Code()
    assert found.look(set(paths))
    data = found.as_data()
    modules = {
        each["module"]: {**each, "text": found.texts.get(each["text"])}
        for each in data["code"]
        if not each["file"].startswith(str(PROJECT))
    }
    repositories = {each["folder"]: each for each in data["repositories"]}
    for each in repositories.values():
        each["diff"] = found.texts.get(each["diff"], each["diff"])
    own = [(note.level, note.message) for note in found.notes() if not note.message.startswith(str(PROJECT))]
    return modules, repositories, own


def test_what_is_committed_is_its_commit(tmp_path: Path) -> None:
    project = repository(tmp_path.resolve() / "p", mine_a__py=SOURCE, helper_a__py="x = 1\n")
    brought(project, "mine_a", "helper_a")
    modules, repositories, notes = recorded("mine_a.Net")
    head = git(project, "rev-parse", "HEAD")
    entry = repositories[str(project)]
    assert (entry["commit"], entry["dirty"], entry["diff"], entry["missing"]) == (head, False, "", None)
    assert sorted(entry["modules"]) == ["helper_a", "mine_a"] and entry["modules"][0] == "mine_a"
    assert modules["mine_a"]["committed"] and modules["mine_a"]["text"] is None and modules["mine_a"]["named"]
    assert modules["helper_a"]["committed"] and not modules["helper_a"]["named"] and not notes


def test_what_is_changed_untracked_ignored_or_hidden_is_kept_as_text(tmp_path: Path) -> None:
    names = ("same_b", "changed_b", "hidden_b")
    files = {f"{name}__py": SOURCE for name in names}
    project = repository(tmp_path.resolve() / "p", **files, __gitignore="ignored_b.py\n")
    git(project, "update-index", "--assume-unchanged", "hidden_b.py")
    for name in ("changed_b", "hidden_b", "new_b", "ignored_b"):
        (project / f"{name}.py").write_text(f"# {name}\nclass Net: ...\n")
    brought(project, *names, "new_b", "ignored_b")
    modules, repositories, _ = recorded("same_b.Net")
    assert modules["same_b"]["committed"] and modules["same_b"]["text"] is None
    for name in ("changed_b", "hidden_b", "new_b", "ignored_b"):
        content = (project / f"{name}.py").read_bytes()
        assert not modules[name]["committed"] and modules[name]["text"] == content.decode(), name
        assert modules[name]["sha256"] == hashlib.sha256(content).hexdigest()
    entry = repositories[str(project)]
    assert entry["dirty"] and "+# changed_b" in entry["diff"] and "hidden" not in entry["diff"]
    assert entry["untracked"] == ["new_b.py"]


def test_a_change_that_git_takes_for_binary_is_kept_as_text(tmp_path: Path) -> None:
    project = repository(tmp_path.resolve() / "p", mine_c__py=SOURCE, __gitattributes="*.py -diff\n")
    (project / "mine_c.py").write_text("class Net:\n    wide = 'the-width'\n")
    brought(project, "mine_c")
    modules, repositories, _ = recorded()
    assert "the-width" not in repositories[str(project)]["diff"]
    assert "the-width" in modules["mine_c"]["text"]


def test_each_repository_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        folder = repository(tmp_path.resolve() / name, **{f"{name}_d__py": SOURCE})
        (folder / f"pkg_{name}").mkdir()
        (folder / f"pkg_{name}" / "deep.py").write_text(SOURCE)
        brought(folder, f"{name}_d", f"pkg_{name}.deep")
    asked: list[Path] = []
    inspect = code_record.git.inspect
    monkeypatch.setattr(code_record.git, "inspect", lambda folder: asked.append(folder) or inspect(folder))
    found = Code()
    found.look(())
    found.look(())
    assert sorted(asked) == sorted([PROJECT, tmp_path.resolve() / "one", tmp_path.resolve() / "two"])
    folders = {each["folder"]: each["modules"] for each in found.as_data()["repositories"]}
    assert sorted(folders[str(tmp_path.resolve() / "two")]) == ["pkg_two.deep", "two_d"]


def test_a_module_in_a_repository_within_another(tmp_path: Path) -> None:
    outer = repository(tmp_path.resolve() / "outer", outer_e__py=SOURCE)
    inner = repository(outer / "inner", inner_e__py=SOURCE)
    brought(outer, "outer_e")
    brought(inner, "inner_e")
    modules, repositories, _ = recorded()
    assert modules["inner_e"]["repository"] == str(inner) and modules["inner_e"]["committed"]
    assert repositories[str(inner)]["modules"] == ["inner_e"]
    assert repositories[str(outer)]["modules"] == ["outer_e"]


def test_one_that_lies_in_no_repository(tmp_path: Path) -> None:
    (tmp_path / "mine_f.py").write_text(SOURCE)
    brought(tmp_path.resolve(), "mine_f")
    modules, repositories, notes = recorded("mine_f.Net")
    assert modules["mine_f"]["repository"] is None and modules["mine_f"]["text"] == SOURCE
    assert set(repositories) <= {str(PROJECT)}
    assert notes == [("info", "in no git repository: mine_f; the record has their text instead of a commit")]


def test_one_in_a_repository_without_a_commit(tmp_path: Path) -> None:
    project = tmp_path.resolve() / "p"
    project.mkdir()
    git(project, "init", "-q")
    (project / "mine_g.py").write_text(SOURCE)
    git(project, "add", ".")
    brought(project, "mine_g")
    modules, repositories, notes = recorded()
    assert repositories[str(project)]["missing"] == "no_commit" and modules["mine_g"]["text"] == SOURCE
    [(level, text)] = notes
    assert level == "warning" and str(project) in text and "has none yet" in text and "mine_g" in text


def test_one_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = repository(tmp_path.resolve() / "p", mine_h__py=SOURCE)
    brought(project, "mine_h")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    modules, repositories, notes = recorded()
    entry = repositories[str(project)]
    assert (entry["commit"], entry["missing"], entry["dirty"]) == (None, "refused", None)
    assert "dubious ownership" in entry["why"] and modules["mine_h"]["text"] == SOURCE
    [(level, text)] = notes
    assert level == "warning" and "git refuses" in text and "safe.directory" in text and "mine_h" in text
    assert [note.message for note in notes_on({"mine_h.Net"})][-1:] == [text]


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = repository(tmp_path.resolve() / "p", mine_i__py=SOURCE)
    brought(project, "mine_i")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Code()
    found.look(())
    data = found.as_data()
    assert all(each["missing"] == "no_git" for each in data["repositories"])
    assert data["tool"]["commit"] is None and len(data["tool"]["digest"]) == 64
    [kept] = [each for each in data["code"] if each["module"] == "mine_i"]
    assert found.texts[kept["text"]] == SOURCE
    assert not any(each["module"].startswith("lab.") for each in data["code"])  # its digest stands for them
    assert any("not installed" in note.message and "mine_i" in note.message for note in found.notes())


def test_the_tool_s_own_files(tmp_path: Path) -> None:
    data = (found := Code()).look(()) and found.as_data()
    commit = git(PROJECT, "rev-parse", "HEAD")
    assert data["tool"] == {
        "folder": str(PROJECT), "repository": str(PROJECT), "commit": commit, "digest": None,
    }  # fmt: skip
    tracked = set(git(PROJECT, "ls-files").splitlines())
    names = {str(Path(each["file"]).relative_to(PROJECT)) for each in data["code"] if "/lab/" in each["file"]}
    assert not names & {name for name in tracked if name.startswith("lab/")}


def test_secrets_are_hidden(tmp_path: Path) -> None:
    project = repository(tmp_path.resolve() / "p", mine_j__py=SOURCE)
    (project / "mine_j.py").write_text("API_KEY = 'abc123'\n")
    (tmp_path / "alone_j.py").write_text("password = 'hunter2'\nTOKEN = 'ghp_" + 36 * "a" + "'\n")
    brought(project, "mine_j")
    brought(tmp_path.resolve(), "alone_j")
    modules, repositories, _ = recorded()
    assert modules["mine_j"]["text"] == "API_KEY = '***'\n"
    assert "+API_KEY = '***'" in repositories[str(project)]["diff"]
    assert modules["alone_j"]["text"] == "password = '***'\nTOKEN = '***'\n"


def test_what_is_too_long_is_cut_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_record, "MAX_TEXT", 100)
    monkeypatch.setattr(code_record, "MAX_TEXTS", 230)
    for name in ("a_k", "b_k", "c_k", "d_k", "named_k"):
        (tmp_path / f"{name}.py").write_text("#" * 150 + "\n")
    (tmp_path / "z_k.py").write_text("")
    brought(tmp_path.resolve(), "a_k", "b_k", "c_k", "named_k", "z_k")
    monkeypatch.setattr(code_record, "imported", lambda paths, real=code_record.imported: [
        module for module in real(paths) if module.name.endswith("_k")
    ])  # fmt: skip
    modules, _, notes = recorded("named_k.Net")
    sizes = {name: len(each["text"] or "") for name, each in modules.items()}
    assert sizes == {"named_k": 100, "a_k": 100, "b_k": 30, "c_k": 0, "z_k": 0}
    assert {name for name, each in modules.items() if each["cut"]} == {"named_k", "a_k", "b_k", "c_k"}
    assert modules["c_k"]["text"] is None and modules["z_k"]["text"] == ""
    assert notes[-1][0] == "warning" and "lacks some of named_k, a_k, b_k and 1 more;" in notes[-1][1]
    monkeypatch.setattr(code_record, "MAX_MODULES", 2)
    modules, _, notes = recorded("named_k.Net")
    assert set(modules) == {"named_k", "a_k"} and "and 3 more modules" in notes[-1][1]


def test_what_is_imported_later_is_added(tmp_path: Path) -> None:
    for name in ("first_l", "second_l", "third_l"):
        (tmp_path / f"{name}.py").write_text(f"# {name}\n")
    brought(tmp_path.resolve(), "first_l")
    found = Code()
    assert found.look(()) and not found.look(())
    (tmp_path / "first_l.py").write_text("# edited during the run\n")
    brought(tmp_path.resolve(), "second_l", "third_l")
    (tmp_path / "third_l.py").write_text("# edited after its import\n")
    assert found.look(())
    kept = {each["module"]: each for each in found.as_data()["code"]}
    assert found.texts[kept["first_l"]["text"]] == "# first_l\n" and not kept["first_l"]["edited"]
    assert found.texts[kept["second_l"]["text"]] == "# second_l\n" and not kept["second_l"]["edited"]
    assert kept["third_l"]["edited"]


@pytest.mark.parametrize("compiled", [True, False])
def test_a_file_that_was_edited_since_its_import_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled: bool
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", not compiled)
    project = repository(tmp_path.resolve() / "p", mine_m__py=SOURCE, other_m__py=SOURCE)
    for name in ("mine_m", "other_m"):
        os.utime(project / f"{name}.py", (1e9, 1e9))
    brought(project, "mine_m", "other_m")
    found = Code()
    (project / "mine_m.py").write_text("class Net:\n    edited = True\n")
    if compiled:  # long before the run began, as in a notebook
        os.utime(project / "mine_m.py", (1.1e9, 1.1e9))
    else:
        os.utime(project / "mine_m.py", (time.time() + 1, time.time() + 1))
    found.look(())
    kept = {each["module"]: each["edited"] for each in found.as_data()["code"]}
    assert kept["mine_m"] and not kept["other_m"]
    [note] = [note for note in found.notes() if "edited since" in note.message]
    assert note.level == "warning" and "mine_m;" in note.message


def test_the_key_of_a_text_is_its_digest() -> None:
    assert key_of("é\n") == "sha256:" + hashlib.sha256("é\n".encode()).hexdigest()
    assert key_of("\udcff") != key_of("")
