"""The owner of a module: the user, wherever Python found it, or an installed package."""

import importlib
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy
import pytest
import torch

from lab.config.module_locations import PROJECT
from lab.provenance.user_modules import (
    Module,
    digest,
    import_paths,
    imported,
    installed,
    named_places,
    source_of,
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path; what is imported from it is forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path.resolve()
    for name in set(sys.modules) - before:
        del sys.modules[name]


def files(paths: set[str] = frozenset()) -> dict[str, Path]:
    return {module.name: module.file for module in imported(paths)}


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("class Net: ...\n")


def test_import_paths_stand_at_any_depth() -> None:
    config = {
        "net": {"target": "mine.Net", "inner": {"target": "mine.parts.Inner"}},
        "transforms": [{"target": "augment.Flip"}, "augment.crop"],
        "callbacks": ("mine.Listener",),
        "name": "plain",
        "path": "data/a.csv",
        "x": 1.5,
    }
    paths = {"mine.Net", "mine.parts.Inner", "augment.Flip", "augment.crop", "mine.Listener"}
    assert set(import_paths(config)) == paths


def test_packages_and_python_are_not_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    found = files()
    assert not {"torch", "numpy", "json", "torch.nn", "numpy.linalg", "collections", "pytest"} & set(found)
    assert not any("site-packages" in str(file) for file in found.values())
    assert json and numpy and torch
    assert found["lab.provenance.user_modules"] == PROJECT / "lab" / "provenance" / "user_modules.py"
    monkeypatch.delitem(sys.modules, "timm", raising=False)  # another test may have imported it
    assert installed({"torch.nn.Linear", "timm.create_model", "model.MLP", "json.loads"}) == ["torch"]


def test_modules_packages_and_folders_without_init(place: Path) -> None:
    write(place, "mine_a.py", "pkg_a/__init__.py", "pkg_a/net.py", "space_a/net.py", "not_imported_a.py")
    for name in ("mine_a", "pkg_a.net", "space_a.net"):
        importlib.import_module(name)
    found = files()
    assert found["mine_a"] == place / "mine_a.py" and found["pkg_a.net"] == place / "pkg_a" / "net.py"
    assert found["pkg_a"] == place / "pkg_a" / "__init__.py"
    assert found["space_a.net"] == place / "space_a" / "net.py"
    assert "space_a" not in found and "not_imported_a" not in found


def test_named_ones_come_first(place: Path) -> None:
    write(place, "a_helper.py", "zz_mine/__init__.py", "zz_mine/deep.py")
    importlib.import_module("a_helper")
    importlib.import_module("zz_mine.deep")
    order = imported({"zz_mine.deep.Net.build", "zz_mine.Net", "absent.Net"})
    assert [module.name for module in order if module.named] == ["zz_mine", "zz_mine.deep"]
    assert all(module.named for module in order[:2]) and not any(module.named for module in order[2:])


def test_a_link_leads_to_where_the_code_is(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    there = tmp_path_factory.mktemp("there").resolve()
    write(there, "shared_b.py")
    (place / "shared_b.py").symlink_to(there / "shared_b.py")
    importlib.import_module("shared_b")
    assert files()["shared_b"] == there / "shared_b.py"


def test_a_link_among_the_packages_is_no_package(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, packages = tmp_path_factory.mktemp("mine").resolve(), tmp_path_factory.mktemp("env")
    packages = packages / "lib" / "site-packages"
    packages.mkdir(parents=True)
    write(there, "linked_c/__init__.py", "linked_c/net.py")
    write(packages, "real_c.py")
    (packages / "linked_c").symlink_to(there / "linked_c")
    monkeypatch.syspath_prepend(packages)
    for name in ("linked_c.net", "real_c"):
        importlib.import_module(name)
    try:
        found = files()
        assert found["linked_c.net"] == there / "linked_c" / "net.py" and "real_c" not in found
        assert installed({"real_c.Net", "linked_c.Net"}) == ["real_c"]
    finally:
        for name in ("linked_c", "linked_c.net", "real_c"):
            del sys.modules[name]


def test_what_pip_has_put_beside_ones_own_is_installed(place: Path) -> None:
    write(place, "dep_d/__init__.py", "dep_d/part.py", "mine_d.py")
    record = place / "dep_d-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(
        "dep_d/__init__.py,sha256=x,3\ndep_d/part.py,,\n../bin/dep,,\ndep_d-1.0.dist-info/RECORD,,\n"
    )
    for name in ("dep_d.part", "mine_d"):
        importlib.import_module(name)
    found = files()
    assert "mine_d" in found and not {"dep_d", "dep_d.part"} & set(found)


def test_what_stands_for_modules_is_passed_over(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Anything:
        def __getattr__(self, name: str) -> str:
            return "/anything.py"

    monkeypatch.setitem(sys.modules, "anything_e", Anything())
    monkeypatch.setitem(sys.modules, "made_e", types.ModuleType("made_e"))
    odd = types.ModuleType("a.b.c.odd_e")
    odd.__file__ = "/odd_e.py"
    monkeypatch.setitem(sys.modules, "a.b.c.odd_e", odd)
    relative = types.ModuleType("relative_e")
    relative.__file__ = "_relative.py"
    monkeypatch.setitem(sys.modules, "relative_e", relative)
    found = files()
    assert not {"anything_e", "made_e", "relative_e"} & set(found) and "a.b.c.odd_e" in found


def test_a_part_that_a_package_generates_is_the_package_s(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(place, "kernel_f.py")
    kernel = types.ModuleType("torch._inductor.kernel_f")
    kernel.__file__ = str(place / "kernel_f.py")
    monkeypatch.setitem(sys.modules, "torch._inductor.kernel_f", kernel)
    assert "torch._inductor.kernel_f" not in files()


def test_named_places_are_found_without_an_import(place: Path) -> None:
    write(place, "mine_g.py", "space_g/net.py")
    (place / "mine_g.py").write_text("raise SystemExit('imported')\n")
    found = named_places(
        {"mine_g.Net", "space_g.net.Net", "torch.nn.Linear", "lab.metrics.MAE", "absent_g.X"}
    )
    assert {module.name: module.file for module in found} == {
        "mine_g": place / "mine_g.py",
        "space_g": place / "space_g",
    }
    assert not {"mine_g", "space_g"} & set(sys.modules)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"x = 'plain'\r\n", "x = 'plain'\n"),
        ("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), "# -*- coding: latin-1 -*-\nx = 'é'\n"),
        (b"\xef\xbb\xbfx = 1\n", "x = 1\n"),
        (b"x = '\xff'\n", "x = '\N{REPLACEMENT CHARACTER}'\n"),
        (b"# coding: nowhere\n", "# coding: nowhere\n"),
        (b"", ""),
    ],
)
def test_a_source_is_read_as_python_reads_it(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "m.py").write_bytes(content)
    assert source_of(Module("m", tmp_path / "m.py")) == (content, text)


def test_what_has_no_source(tmp_path: Path, place: Path) -> None:
    (tmp_path / "compiled.so").write_bytes(b"\x7fELF")
    assert source_of(Module("compiled", tmp_path / "compiled.so")) is None
    assert source_of(Module("gone", tmp_path / "gone.py")) is None
    write(place, "packed_h.py")
    subprocess.run([sys.executable, "-m", "zipfile", "-c", "h.zip", "packed_h.py"], cwd=place, check=True)
    (place / "packed_h.py").unlink()
    sys.path.insert(0, str(place / "h.zip"))
    importlib.import_module("packed_h")
    sys.path.pop(0)
    [module] = [module for module in imported(()) if module.name == "packed_h"]
    assert source_of(module) == (b"class Net: ...\n", "class Net: ...\n")


def test_the_digest_changes_with_the_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from lab.provenance import user_modules

    write(tmp_path, "lab/a.py", "main.py", "util.py")
    monkeypatch.setattr(user_modules, "PROJECT", tmp_path)
    before = digest()
    assert before == digest()
    (tmp_path / "lab" / "a.py").rename(tmp_path / "lab" / "b.py")
    moved = digest()
    (tmp_path / "lab" / "b.py").write_text("class Net: pass\n")
    assert len({before, moved, digest()}) == 3
