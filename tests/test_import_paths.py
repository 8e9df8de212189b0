"""Every import path that a user can have met, in a config, in the docs or in a stored study, resolves."""

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lab.data
from lab.config import import_policy
from lab.import_aliases import MOVED, current

ROOT = Path(__file__).resolve().parent.parent
OLD = ROOT / "tests" / "old"
PACKAGES = (
    "lab",
    "model",
    "util",
    "torch",
    "torchvision",
    "segmentation_models_pytorch",
    "albumentations",
    "optuna",
)
DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+(?![\w/-])")
NO_PATHS = re.compile(r"\.(py|pt|yaml|md|toml|json|csv)$")  # of files, such as model.py

PYTHON = re.compile(r"^```python$.*?^```$", re.DOTALL | re.MULTILINE)  # tests/test_readme.py runs these
REFUSED = {"lab.data.segmentation_files.os"}  # an example of what a config can't name


def in_configs() -> Iterator[tuple[str, str]]:
    for path in sorted([*ROOT.glob("configs/*.yaml"), *ROOT.glob("studies/*.yaml"), *OLD.rglob("*.yaml")]):
        for name in targets(yaml.safe_load(path.read_text(encoding="utf-8"))):
            yield str(path.relative_to(ROOT)), name


def in_stored_studies() -> Iterator[tuple[str, str]]:
    for name in DOTTED.findall((OLD / "studies.sql").read_text(encoding="utf-8")):
        yield "tests/old/studies.sql", name


def in_documents() -> Iterator[tuple[str, str]]:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    for path in pages:
        for name in DOTTED.findall(PYTHON.sub("", path.read_text(encoding="utf-8"))):
            if not NO_PATHS.search(name) and name not in REFUSED:
                yield str(path.relative_to(ROOT)), name


def in_schemas() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "configs" / "schema").glob("*.json")):
        for name in DOTTED.findall(json.dumps(json.loads(path.read_text(encoding="utf-8")))):
            yield str(path.relative_to(ROOT)), name


def targets(value: Any) -> Iterator[str]:
    """Import paths among the strings of a config: those of the packages that a config here can name."""
    if isinstance(value, str):
        if DOTTED.fullmatch(value) and not NO_PATHS.search(value):
            yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from targets(part)


def found(name: str) -> bool:
    parts = name.split(".")
    value: Any = importlib.import_module(parts[0])
    for count, part in enumerate(parts[1:], start=2):
        if not hasattr(value, part):
            try:
                importlib.import_module(".".join(parts[:count]))
            except ModuleNotFoundError:
                return has_field(value, part) and count == len(parts)
        value = getattr(value, part)
    return True


def has_field(value: Any, name: str) -> bool:
    """Return whether a class annotates an attribute without a value: a field of a dataclass or config."""
    return isinstance(value, type) and any(
        name in vars(kind).get("__annotations__", {}) for kind in value.__mro__
    )


def in_configs_of_older_versions() -> Iterator[tuple[str, str]]:
    yield from listed("named_in_configs.txt")


def in_modules_of_older_versions() -> Iterator[tuple[str, str]]:
    yield from listed("imported_by_modules.txt")


def listed(file: str) -> Iterator[tuple[str, str]]:
    for name in (OLD / file).read_text(encoding="utf-8").split():
        yield f"tests/old/{file}", name


def in_the_table_of_moved_paths() -> Iterator[tuple[str, str]]:
    for old, new in MOVED.items():
        module = old.partition(":")[0]
        # `lab.data.manifest` is the source, not its former module: only a config can name what was in that.
        shadowed = module.rpartition(".")[2] in lab.data.__all__
        yield "lab/import_aliases.py", current(old.replace(":", ".")) if shadowed else old.replace(":", ".")
        yield "lab/import_aliases.py", new.replace(":", ".")


PRESENT = [in_configs, in_documents, in_schemas]
OLDER = [in_stored_studies, in_configs_of_older_versions, in_modules_of_older_versions]


@pytest.mark.parametrize("source", [*PRESENT, *OLDER, in_the_table_of_moved_paths])
@pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed:DeprecationWarning")
def test_it_resolves(source: Any) -> None:
    named = sorted(set(source()))
    assert named or source is in_the_table_of_moved_paths
    assert [(place, name) for place, name in named if not found(name)] == []


@pytest.mark.parametrize("source", PRESENT)
def test_what_ships_names_present_paths(source: Any) -> None:
    assert [(place, name) for place, name in sorted(set(source())) if current(name) != name] == []


def test_what_configs_could_name_they_can_name_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    assert [name for _, name in in_configs_of_older_versions() if not import_policy.is_open(name)] == []


def test_no_moved_path_leads_to_another() -> None:
    assert [
        new for old, new in MOVED.items() if current(new.replace(":", ".")) != new.replace(":", ".")
    ] == []


@pytest.mark.filterwarnings("ignore:.* is deprecated and will be removed:DeprecationWarning")
def test_the_old_path_of_a_module_is_the_module_itself() -> None:
    modules = {old: new for old, new in MOVED.items() if ":" not in old}
    assert [old for old, new in modules.items()
            if importlib.import_module(old) is not importlib.import_module(new)] == []  # fmt: skip
