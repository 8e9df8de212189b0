"""Answers of git about a folder, whatever its settings; nothing that the folder configures is executed."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.provenance import git as asked
from lab.provenance.git import Gap, inspect, locate, root_of
from tests.git_tools import alone, git, repository


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    alone(monkeypatch)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return repository(tmp_path.resolve() / "project", model__py="width = 64\n", __gitignore="runs/\n")


def test_a_clean_project_is_its_commit(project: Path) -> None:
    (project / "runs").mkdir()
    (project / "runs" / "ignored").touch()
    found = inspect(project)
    assert (found.folder, found.commit, found.branch) == (project, git(project, "rev-parse", "HEAD"), "trunk")
    assert (found.dirty, found.diff, found.gap) == (False, "", None)
    assert not found.changed and not found.untracked


def test_the_diff_brings_the_code_back(project: Path, tmp_path: Path) -> None:
    (project / "model.py").write_text("width = 128\n")
    (project / "new.py").write_text("staged = True\n")
    git(project, "add", "new.py")
    (project / "ünversioned file.txt").touch()
    found = inspect(project)
    assert found.dirty and found.untracked == ("ünversioned file.txt",) and found.untracked_count == 1
    assert found.changed == {"model.py", "new.py"}
    git(tmp_path, "clone", "-q", "project", "copy")
    (tmp_path / "patch").write_text(str(found.diff))
    git(tmp_path / "copy", "checkout", "-q", str(found.commit))
    git(tmp_path / "copy", "apply", "../patch")
    assert (tmp_path / "copy" / "model.py").read_text() == "width = 128\n"
    assert (tmp_path / "copy" / "new.py").read_text() == "staged = True\n"


def test_an_untracked_file_alone_is_dirty_and_output_is_not(project: Path) -> None:
    git(project, "rm", "-q", ".gitignore")
    git(project, "commit", "-q", "-m", "second")
    for name in ("runs/a/config.yaml", "studies/s/study.yaml", "__pycache__/model.pyc", "studies.db"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).touch()
    assert inspect(project).dirty is False
    (project / "new.py").touch()
    found = inspect(project)
    assert found.dirty and found.diff == "" and found.untracked == ("new.py",)


@pytest.mark.parametrize(
    "setting",
    [
        "color.ui=always", "diff.noprefix=true", "diff.mnemonicPrefix=true", "status.showUntrackedFiles=no",
        "status.renames=copies", "diff.renames=true", "status.branch=false", "status.showStash=true",
        "diff.submodule=log", "diff.orderFile=absent", "diff.relative=true", "core.quotePath=true",
        "status.relativePaths=true", "diff.context=0", "core.pager=false", "status.submoduleSummary=true",
        "diff.ignoreSubmodules=all", "diff.wordRegex=.", "diff.interHunkContext=3",
    ],
)  # fmt: skip
def test_the_user_s_settings_of_git_change_nothing(project: Path, setting: str) -> None:
    git(project, "config", *setting.split("=", 1))
    git(project, "mv", "model.py", "moved.py")
    (project / "new.py").touch()
    found = inspect(project)
    assert found.untracked == ("new.py",) and found.changed == {"model.py", "moved.py"}
    assert "--- a/model.py\n+++ /dev/null\n" in str(found.diff)
    assert str(found.diff).endswith("+++ b/moved.py\n@@ -0,0 +1 @@\n+width = 64\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_DIR", "/nowhere"), ("GIT_WORK_TREE", "/"), ("GIT_INDEX_FILE", "/nowhere"),
        ("GIT_OBJECT_DIRECTORY", "/nowhere"), ("GIT_NAMESPACE", "n"), ("GIT_CONFIG", "/nowhere"),
        ("GIT_COMMON_DIR", "/nowhere"), ("GIT_LITERAL_PATHSPECS", "1"), ("GIT_PREFIX", "sub/"),
        ("GIT_DIFF_OPTS", "--unified=0"), ("GIT_QUARANTINE_PATH", "/nowhere"), ("GIT_CONFIG_PARAMETERS", "'"),
    ],
)  # fmt: skip
def test_a_hook_of_another_repository_changes_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (project / "model.py").write_text("a\nwidth = 64\nb\n")
    before = inspect(project)
    monkeypatch.setenv(name, value)
    assert inspect(project) == before and before.gap is None and "+b" in str(before.diff)


def test_a_huge_diff_is_cut_at_a_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "MAX_DIFF", 150)
    monkeypatch.setattr(asked, "MAX_UNTRACKED", 2)
    (project / "model.py").write_text("x = 1\n" * 100)
    for number in range(3):
        (project / f"{number}.txt").touch()
    found = inspect(project)
    assert found.diff_cut and found.gap is None
    assert 130 < len(str(found.diff)) <= 150 and str(found.diff).endswith("x = 1\n")
    assert found.untracked == ("0.txt", "1.txt") and found.untracked_count == 3


def test_a_folder_within_is_its_repository(project: Path) -> None:
    inner = project / "inner"
    inner.mkdir()
    (project / "model.py").write_text("changed outside\n")
    found = inspect(inner)
    assert found.folder == project and found.changed == {"model.py"} and root_of(inner) == project
    nested = repository(inner / "nested")
    assert inspect(nested).folder == nested and root_of(nested) == nested


def test_a_working_tree_of_another_repository_and_a_detached_head(project: Path, tmp_path: Path) -> None:
    git(project, "worktree", "add", "-q", "--detach", str(tmp_path / "tree"))
    found = inspect(tmp_path.resolve() / "tree")
    assert (found.branch, found.commit) == ("(detached)", inspect(project).commit)
    assert found.folder == tmp_path.resolve() / "tree"


def test_what_git_was_told_not_to_look_at_is_not_taken_as_committed(project: Path) -> None:
    for name in ("a.py", "b.py", "c.py", "[d].py"):
        (project / name).write_text("before\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "second")
    git(project, "update-index", "--assume-unchanged", "a.py")
    git(project, "update-index", "--skip-worktree", "b.py")
    for name in ("a.py", "b.py", "ignored.py", "c.py"):
        (project / name).write_text("after\n")
    found = inspect(project)
    assert found.changed == {"c.py"}  # git is blind to the first two
    files = [project / name for name in ("a.py", "b.py", "c.py", "ignored.py", "model.py", "[d].py")]
    tracked = found.tracked(files)
    assert tracked == {project / name for name in ("c.py", "model.py", "[d].py")}
    assert [file.name for file in sorted(tracked) if found.holds(file)] == ["[d].py", "model.py"]


@settings(max_examples=15, deadline=None)
@given(
    name=st.text(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"), min_size=1, max_size=20
    ).filter(lambda name: name.strip(". ") and name.lower() != ".git"),
)
def test_any_file_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = repository(tmp_path_factory.mktemp("names").resolve())
    try:
        (folder / name).write_text("1\n")
    except OSError:  # no file of this system
        return
    assert inspect(folder).untracked == ((name,) if name != "studies.db" else ())
    git(folder, "add", "-f", "--", f":(literal){name}")
    git(folder, "commit", "-q", "-m", "second")
    (folder / name).write_text("2\n")
    found = inspect(folder)
    assert found.changed == {name} and found.tracked([folder / name]) == {folder / name}
    assert found.untracked == () and not found.holds(folder / name)


# --- where there is no answer


def test_nothing_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path.resolve() / "plain"
    place.mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.resolve()))
    for folder in (place, place / "absent"):
        found = inspect(folder)
        assert (found.gap, found.folder, found.dirty) == (Gap.NO_REPOSITORY, folder, None)


def test_a_repository_without_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "a.py")
    found = inspect(tmp_path.resolve())
    assert (found.commit, found.gap, found.dirty) == (None, Gap.NO_COMMIT, True)
    assert not found.tracked([tmp_path.resolve() / "a.py"])


def test_no_git_and_a_slow_git(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin"
    slow.mkdir()
    (slow / "git").write_text("#!/bin/sh\nsleep 60\n")
    (slow / "git").chmod(0o755)
    monkeypatch.setattr(asked, "_PATIENCE", 0.2)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{slow}{os.pathsep}{path}")
    assert inspect(project).gap is Gap.TIMEOUT
    (slow / "git").write_text(
        '#!/bin/sh\ncase "$*" in *porcelain*) sleep 60;; esac\nexec /usr/bin/env -S '
        + (f'PATH={path} git "$@"\n')
    )
    monkeypatch.setattr(asked, "_PATIENCE", 2.0)
    found = inspect(project)
    assert found.gap is Gap.TIMEOUT and found.commit and found.dirty is None and found.diff is None
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert inspect(project).gap is Gap.NO_GIT


def test_a_folder_of_somebody_else_is_left_to_git_and_to_the_user(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    found = inspect(project)
    assert (found.gap, found.commit) == (Gap.REFUSED, None)
    assert "dubious ownership" in found.detail and "safe.directory" in found.detail
    git(project, "config", "--file", ".git/config", "safe.directory", "*")  # it can't allow itself
    assert inspect(project).gap is Gap.REFUSED
    (tmp_path / "global").write_text(f"[safe]\n\tdirectory = {project}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "global"))
    assert inspect(project).commit == git(project, "rev-parse", "HEAD")


@pytest.mark.parametrize("damage", ["HEAD", "config", "objects", "index", ".git"])
def test_a_damaged_repository_has_a_reason(project: Path, damage: str) -> None:
    (project / "model.py").write_text("width = 128\n")
    place = project / ".git" / damage if damage != ".git" else project / ".git"
    subprocess.run(["rm", "-rf", str(place)], check=True)
    place.write_text("[nothing")
    found = inspect(project)
    assert found.gap is Gap.REFUSED and found.detail and found.diff is None


# --- programs of the repository's own

PROGRAMS: dict[str, list[str]] = {
    "fsmonitor": ["core.fsmonitor=RUN"],
    "external diff": ["diff.external=RUN"],
    "diff driver": ["diff.x.command=RUN"],
    "textconv": ["diff.x.textconv=RUN", "diff.x.cachetextconv=true"],
    "clean": ["filter.x.clean=RUN"],
    "process": ["filter.x.process=RUN", "filter.x.required=true"],
    "smudge": ["filter.x.smudge=RUN"],
    "pager": ["core.pager=RUN", "pager.status=RUN", "pager.diff=RUN", "pager.config=RUN"],
    "alias": ["alias.status=!RUN", "alias.diff=!RUN", "alias.rev-parse=!RUN", "alias.ls-files=!RUN"],
    "hooks path": ["core.hooksPath=HOOKS"],
    "alternates": ["core.alternateRefsCommand=RUN"],
    "transport": ["core.sshCommand=RUN", "core.gitProxy=RUN", "core.askPass=RUN", "credential.helper=!RUN"],
    "signature": ["gpg.program=RUN", "log.showSignature=true", "core.editor=RUN", "sequence.editor=RUN"],
}


@pytest.fixture
def planted(project: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes settings into the project in which RUN is a program that leaves a mark; returns the mark."""

    def plant(*lines: str, where: str = "config") -> Path:
        mark, run, hooks = tmp_path / "mark", tmp_path / "run", tmp_path / "hooks"
        run.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
        run.chmod(0o755)
        hooks.mkdir()
        for name in ("post-index-change", "pre-commit", "reference-transaction", "post-checkout"):
            for place in (hooks, project / ".git" / "hooks"):
                place.mkdir(exist_ok=True)
                (place / name).write_text(run.read_text())
                (place / name).chmod(0o755)
        (project / ".gitattributes").write_text("*.py filter=x diff=x\n")
        git(project, "add", ".gitattributes")
        git(project, "commit", "-q", "-m", "attributes")
        mark.unlink(missing_ok=True)
        for line in lines:
            name, _, value = line.partition("=")
            value = value.replace("RUN", str(run)).replace("HOOKS", str(hooks))
            git(project, "config", "--file", str(project / ".git" / where), name, value)
        (project / "model.py").write_text("width = 128\n")
        mark.unlink(missing_ok=True)
        return mark

    return plant


def assert_unharmed(project: Path, mark: Path) -> None:
    found = inspect(project)
    assert not mark.exists()
    assert found.changed == {"model.py"} and found.tracked([project / "model.py"])
    assert "+width = 128" in str(found.diff) and found.gap is None


@pytest.mark.parametrize("kind", PROGRAMS)
def test_a_repository_runs_no_program(project: Path, planted: Callable[..., Path], kind: str) -> None:
    mark = planted(*PROGRAMS[kind])
    assert_unharmed(project, mark)
    if kind in ("fsmonitor", "external diff", "diff driver", "textconv", "clean", "process", "hooks path"):
        git(project, "status", check=False)
        git(project, "diff", check=False)
        assert mark.exists(), "with git alone it would have run"


def test_nor_one_of_a_file_that_its_settings_include(project: Path, planted: Callable[..., Path]) -> None:
    git(project, "config", "include.path", "more")
    git(project, "config", "includeIf.onbranch:trunk.path", "most")
    mark = planted("core.fsmonitor=RUN", "filter.x.clean=RUN", where="more")
    (project / ".git" / "most").write_text((project / ".git" / "more").read_text().replace('"x"', '"y"'))
    (project / ".git" / "info" / "attributes").write_text("* filter=y\n")
    assert_unharmed(project, mark)
    git(project, "diff", check=False)
    assert mark.exists()


def test_nor_one_of_the_working_trees_own_settings(project: Path, planted: Callable[..., Path]) -> None:
    git(project, "config", "extensions.worktreeConfig", "true")
    mark = planted("core.fsmonitor=RUN", "filter.x.process=RUN", where="config.worktree")
    assert_unharmed(project, mark)


@settings(max_examples=10, deadline=None)
@given(name=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
def test_a_filter_of_any_name(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    folder = repository(tmp_path_factory.mktemp("filters").resolve(), model__py="width = 64\n")
    mark = folder.parent / f"{folder.name}.mark"
    (folder / ".git" / "info" / "attributes").write_text(f"*.py filter={name}\n")
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    with (folder / ".git" / "config").open("a") as file:
        file.write(f'[filter "{quoted}"]\n\tclean = touch {mark}; cat\n\trequired = true\n')
    (folder / "model.py").write_text("width = 128\n")
    found = inspect(folder)
    assert not mark.exists() and found.commit
    assert (found.gap is Gap.REFUSED and "=" in name) or "+width = 128" in str(found.diff)


def test_nor_one_of_a_submodules(project: Path, tmp_path: Path, planted: Callable[..., Path]) -> None:
    inner = repository(tmp_path / "inner", net__py="depth = 1\n")
    git(project, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    git(project, "commit", "-q", "-m", "with a submodule")
    mark = planted()
    run = tmp_path / "run"
    git(project / "sub", "config", "core.fsmonitor", str(run))
    git(project / "sub", "config", "filter.x.clean", str(run))
    (project / ".git" / "modules" / "sub" / "info" / "attributes").write_text("* filter=x\n")
    (project / "sub" / "net.py").write_text("depth = 2\n")
    assert_unharmed(project, mark)
    found = inspect(project / "sub")  # where its modules are asked for
    assert not mark.exists() and "+depth = 2" in str(found.diff)
    assert found.folder == project / "sub" and found.commit == git(inner, "rev-parse", "HEAD")
    git(project, "status")
    assert mark.exists()


def test_what_a_partial_clone_lacks_is_not_fetched(tmp_path: Path) -> None:
    origin = repository(tmp_path / "origin", model__py="width = 64\n")
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{origin}", "copy")
    copy, mark = tmp_path.resolve() / "copy", tmp_path / "mark"
    git(copy, "read-tree", "HEAD")
    (copy / "model.py").write_text("width = 128\n")
    (tmp_path / "run").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (tmp_path / "run").chmod(0o755)
    git(copy, "config", "remote.origin.uploadpack", str(tmp_path / "run"))
    found = inspect(copy)
    assert not mark.exists() and found.commit and found.diff is None and found.gap is Gap.REFUSED
    assert found.changed == {"model.py"}
    git(copy, "diff", check=False)
    assert mark.exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GIT_EXTERNAL_DIFF", "RUN"), ("GIT_PAGER", "RUN"), ("GIT_SSH_COMMAND", "RUN"),
        ("GIT_ASKPASS", "RUN"), ("GIT_EDITOR", "RUN"), ("GIT_TRACE", "MARK"), ("GIT_TRACE2", "MARK"),
        ("GIT_TRACE2_EVENT", "MARK"),
        ("GIT_CONFIG_PARAMETERS", "'core.fsmonitor'='RUN'"), ("GIT_EXEC_PATH", "/nowhere"),
        ("GIT_ALLOW_PROTOCOL", "ext"), ("PAGER", "RUN"),
    ],
)  # fmt: skip
def test_nor_one_of_the_environment(
    project: Path, planted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    mark = planted()
    run = str(mark.with_name("run"))
    monkeypatch.setenv(name, value.replace("RUN", run).replace("MARK", str(mark)))
    assert_unharmed(project, mark)


def test_nor_one_of_settings_in_the_environment(
    project: Path, planted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = planted()
    names = ("core.fsmonitor", "filter.x.clean", "filter.x.process", "diff.external", "core.hooksPath")
    for index, name in enumerate(names):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{index}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{index}", str(mark.with_name("run")))
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(names)))
    assert_unharmed(project, mark)
    git(project, "status", check=False)
    assert mark.exists()


@pytest.mark.parametrize("place", [".", "", "HERE", "sub/..", "LINK", "sub"])
def test_a_program_called_git_in_the_current_folder_or_below_is_none(
    project: Path, planted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    mark = planted()
    (project / "sub").mkdir()
    for folder in (project, project / "sub"):
        (folder / "git").write_text(f"#!/bin/sh\ntouch {mark}\n")
        (folder / "git").chmod(0o755)
    mark.with_name("link").symlink_to(project)
    place = place.replace("HERE", str(project)).replace("LINK", str(mark.with_name("link")))
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    found = inspect(project)
    assert not mark.exists() and found.changed == {"model.py"}


def test_a_working_tree_elsewhere_is_not_looked_at(project: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "model.py").write_text("hunter2\n")
    git(project, "config", "core.worktree", str(tmp_path / "private"))
    found = inspect(project)
    assert found.gap is Gap.REFUSED and found.diff is None and "private" in found.detail


def test_a_bare_repository_around_a_module_is_not_taken(tmp_path: Path, planted: Callable[..., Path]) -> None:
    mark = planted()
    bare = tmp_path.resolve() / "bare"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    git(bare, "config", "core.fsmonitor", str(mark.with_name("run")))
    assert locate(bare).folder != bare or locate(bare).gap is Gap.NO_REPOSITORY
    assert not mark.exists()
