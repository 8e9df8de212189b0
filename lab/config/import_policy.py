"""The import paths that a config may name: it may come from an untrusted source, and importing runs code.

A path is checked twice: by its words, before anything of it is imported, and by where each thing on the way
was defined, for `torch.nn.functional.math` is another package's module under a good name. Within the packages
that are known here the longest entry of OPEN and CLOSED that fits decides; what is in neither is closed.
"""

import importlib.util
import inspect
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path as FilePath
from types import ModuleType
from typing import Any

from lab.config.config_diff import parts
from lab.config.module_locations import OF_A_RECORD, files_of, homes, open_homes
from lab.config.problems import ConfigError, Path, Problem, nearest
from lab.import_aliases import current

PLACES = "beside main.py, in the current folder or installed"
VARIABLE = "LAB_ALLOW_IMPORT"  # what --allow-import sets, for all processes of the command
PACKAGES = (
    "torch", "torchvision", "timm", "segmentation_models_pytorch", "albumentations", "optuna", "sklearn",
    "lab",
)  # fmt: skip
# What ends with * stands for all names that begin so.
OPEN = (
    "torch.nn", "torch.optim", "torch.utils.data", "torch.distributions", "torch.functional", "torch.special",
    "torch.linalg", "torch.fft",
    "torchvision.models", "torchvision.transforms", "torchvision.ops", "torchvision.datasets",
    "torchvision.tv_tensors",
    "timm.create_model", "timm.models", "timm.layers", "timm.loss", "timm.optim", "timm.scheduler",
    "segmentation_models_pytorch", "albumentations", "optuna.samplers", "optuna.pruners",
    "sklearn", "sklearn.datasets.load_*", "sklearn.datasets.make_*",
    "lab.data", "lab.tasks", "lab.metrics", "lab.losses", "lab.graphs", "lab.hpo.cma", "lab.hpo.pfl",
)  # fmt: skip
# What loads code or pickles, writes or removes files, starts processes, or is the program itself; a wider
# grant, such as --allow-import torch, doesn't open these, only one that names them does.
CLOSED = (
    "torch.classes", "torch.compiler", "torch.distributed", "torch.export", "torch.from_file", "torch.fx",
    "torch.hub", "torch.jit", "torch.load", "torch.multiprocessing", "torch.ops", "torch.package",
    "torch.save", "torch.serialization", "torch.testing", "torch.utils.benchmark", "torch.utils.collect_env",
    "torch.utils.cpp_extension", "torch.utils.data.datapipes", "torch.utils.model_zoo",
    "torchvision.datasets.LSUN*", "torchvision.datasets.folder.make_dataset", "torchvision.datasets.lsun",
    "torchvision.datasets.utils", "torchvision.io",
    "timm.data", "timm.models.adapt_model_*", "timm.models.download_*", "timm.models.helpers",
    "timm.models.hub", "timm.models.load_*", "timm.models.push_to_hf_hub", "timm.models.resume_checkpoint",
    "timm.models.save_for_hf", "timm.utils",
    "segmentation_models_pytorch.base.hub_mixin", "segmentation_models_pytorch.from_pretrained",
    "albumentations.check_version", "albumentations.core.hub_mixin", "albumentations.core.serialization",
    "albumentations.load", "albumentations.save",
    "sklearn.conftest", "sklearn.datasets", "sklearn.externals", "sklearn.show_versions",
    "sklearn.tree.export_*", "sklearn.utils",
    "lab.config", "lab.hpo.forkserver", "lab.store.file_io", "lab.store.run_folder",
    "main", "util", "selftest", "tests", "benchmarks", "environments", "runs", "studies", "wandb",
)  # fmt: skip
_INSTALLED = {FilePath(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
_OF_C = re.compile(r"torch\._C\._(nn|special|linalg|fft)")  # functions that public modules show as theirs


def guard(granted: Sequence[str], yaml: str | None = None) -> None:
    """Let in what --allow-import names, and close torch's loader to pickles, for processes, too.

    Args:
        yaml: the config that the command line names, whose neighbours are modules of the user's own.
    """
    open_homes(yaml)
    if granted:
        os.environ[VARIABLE] = ",".join(granted)
    if not os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):  # torch takes one of the two
        os.environ.setdefault("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "1")


def admit(path: str) -> None:
    """Check an import path by its words; nothing of it is imported.

    Raises:
        ConfigError: it may not be named; with what may, and the way out.
    """
    path = current(path)
    for part in path.split("."):
        if part.startswith("_"):
            raise bad_target(f"'{path}' may not be named: what begins with _, as '{part}' does, is private")
    first = path.partition(".")[0]
    if first not in PACKAGES and _spec(first) is None:
        raise missing_module(first)
    if first not in PACKAGES and len(files := files_of(first)) > 1:
        found = " and ".join(map(str, files))
        raise bad_target(f"'{first}' may be either of {found}: rename yours, so that one is meant")
    if not is_open(path):
        raise _refused(f"'{path}' may not be named", path)


def admit_found(value: object, path: str) -> None:
    """Check what was found at a place on the way by where it was defined.

    Raises:
        ConfigError: no config may name that place.
    """
    home = value.__name__ if isinstance(value, ModuleType) else _home(value)
    if isinstance(value, ModuleType) and home == path:
        return
    # Private modules between are an implementation detail: `torch._C._nn.gelu` counts as torch.nn's.
    first, *rest = home.split(".")
    public = ".".join([first.lstrip("_"), *(part for part in rest if not part.startswith(("_", "<")))])
    if not is_open(public):
        raise _refused(f"'{path}' may not be named: it is {home}", public)


def is_open(path: str) -> bool:
    """Return whether a config may name a place, by its words."""
    path = current(path)
    no = _longest(path, CLOSED)
    # Tests that a package ships are closed at any depth.
    if path.partition(".")[0] in PACKAGES and "tests" in path.split("."):
        no = len(path)
    # The longest entry decides: a part of an open package can be closed, and the reverse.
    granted = _longest(path, map(current, filter(None, os.environ.get(VARIABLE, "").split(","))))
    if granted >= max(no, 0) or _longest(path, OPEN) > no:
        return True
    first, _, rest = path.partition(".")
    return no < 0 and (_tensor_function(rest) is not None if first == "torch" else _is_own(path))


def closed_in(value: object, path: Path = ()) -> Iterator[Problem]:
    """The components within plain data whose import path may not be named; nothing is imported."""
    for key, item in parts(value):
        if key == "target" and isinstance(item, str) and "." in item:
            with ConfigError.collected(prefix=path) as found:
                admit(item)
            yield from found
        else:
            yield from closed_in(item, (*path, key))


def _is_own(path: str) -> bool:
    """Return whether a module is the user's: it lies in one of the `homes`, and in no record."""
    package, *rest = path.split(".")
    spec = None if package in PACKAGES else _spec(package)
    if spec is None:
        return False
    if spec.has_location and spec.origin is not None:
        file = FilePath(spec.origin).resolve()
        places = {file.parents[1] if spec.submodule_search_locations is not None else file.parent}
    else:  # a folder of modules without __init__.py; what is built in has none
        places = {FilePath(place).resolve().parent for place in spec.submodule_search_locations or ()}
    folders = [place.joinpath(package, *rest[:count]) for place in places for count in range(len(rest))]
    if any((folder / name).exists() for folder in folders for name in OF_A_RECORD):
        return False
    return bool(places) and places <= set(homes()) - _INSTALLED


def _home(value: object) -> str:
    """The place where a class or function was defined, as a dotted path."""
    name = str(getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__qualname__))
    module = getattr(value, "__module__", None)
    if inspect.isbuiltin(value) and value == _tensor_function(name):
        return f"torch.{name}"
    if not isinstance(module, str):
        module = type(value).__module__ if module is None else "nowhere"
    in_c = _OF_C.fullmatch(module)
    return f"torch.{in_c[1]}.{name}" if in_c else f"{module}.{name}"


def _tensor_function(name: str) -> object:
    """Torch's own function of tensors of this name, such as `tanh`; before torch is there, any."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None if "." in name else name
    return getattr(torch._C._VariableFunctions, name, None)


def _longest(path: str, entries: Iterable[str]) -> int:
    """The length of the longest entry that fits; -1 where none does."""
    return max((len(entry) for entry in entries if _fits(path, entry)), default=-1)


def _fits(path: str, entry: str) -> bool:
    return path.startswith(entry[:-1]) if entry.endswith("*") else f"{path}.".startswith(f"{entry}.")


def _spec(package: str) -> Any:
    """The spec of a top package, which is not imported for it; None where there is none."""
    try:
        return importlib.util.find_spec(package)
    except (ValueError, ImportError):
        return None


def missing_module(package: str) -> ConfigError:
    """The error that no top package of this name can be found, with the nearest one as a hint."""
    import pkgutil

    hint = nearest(package, {module.name for module in pkgutil.iter_modules()})
    return bad_target(f"there is no module '{package}' {PLACES}{hint}")


def _refused(what: str, path: str) -> ConfigError:
    first, _, rest = path.partition(".")
    second = rest.partition(".")[0]
    known = {entry.split(".")[1] for entry in OPEN if entry.startswith(f"{first}.")}
    if second not in known and (hint := nearest(second, known, cutoff=0.75)) and _longest(path, CLOSED) < 0:
        return bad_target(f"'{first}' has no '{second}'{hint}")
    if first in PACKAGES or first in CLOSED:
        closed = max((entry for entry in CLOSED if _fits(path, entry)), key=len, default=path)
        why = f"of '{first}', configs may name only what networks, losses, data and the like are made of"
        way = path if closed.endswith("*") else closed
    else:
        why = f"configs may name what is beside main.py, in the current folder, or in {', '.join(PACKAGES)}"
        way = first
        if files := files_of(first):
            why = f"{files[0]} isn't it, for an installed module has the same name: rename yours; {why}"
    return bad_target(f"{what}; {why}; --allow-import {way} lets it in, where you trust this config")


def bad_target(message: str) -> ConfigError:
    """The error that a component's import path is the cause of."""
    return ConfigError([Problem(("target",), message)])
