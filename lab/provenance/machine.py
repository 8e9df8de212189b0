"""The origin of a result, besides its config and its code: versions, machine, command.

Packages are asked for their version without being imported. What can't be found out is None: no record is
worth a failed run.
"""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from lab.store.paths import start
from lab.store.redact import redact_arguments

PACKAGES = (
    *("torch", "torchvision", "numpy", "optuna", "pydantic", "albumentations", "segmentation-models-pytorch"),
    *("scikit-learn", "opencv-python-headless", "wandb", "tensorboard", "matplotlib", "PyYAML"),
)
ENVIRONMENT = (
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTHONHASHSEED", "WANDB_MODE", "SLURM_JOB_ID"),
)


def collect(
    command: Sequence[str], seed: int, device: str, folder: Path | None = None, named: Iterable[str] = ()
) -> dict[str, object]:
    """Collect all that a result depends on besides its config and its code, as plain data.

    Args:
        command: the command line; values that look secret are replaced by `***`.
        device: such as `cuda:0`; its name is read where torch is loaded already, which it is in a run.
        folder: where the command was given, by default the current folder.
        named: installed packages to give the version of, besides those that every run uses.
    """
    known = _versions()
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": redact_arguments(command),
        "folder": str(start() / (folder or "")),
        "seed": seed,
        "device": device,
        "python": platform.python_version(),
        "platform": _platform(),
        "host": platform.node(),
        "processor": processor(),
        "cpus": _usable_cpus(),
        "gpu": _gpu(device),
        "packages": {name: _version(name, known) for name in (*PACKAGES, *named)},
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def _platform() -> str:
    """`platform.platform()`, which on Linux starts a process for the name of the processor."""
    if sys.platform != "linux":
        return platform.platform()
    system, library = os.uname(), "".join(platform.libc_ver())
    names = (system.sysname, system.release, system.machine, f"with-{library}" if library else "")
    return "-".join(filter(None, names))


def _versions() -> dict[str, str]:
    """The packages' versions by name, from the names of their folders: reading each takes longer."""
    versions: dict[str, str] = {}
    for place in map(Path, sys.path):
        with suppress(OSError):
            for folder in place.glob("*.dist-info"):
                name, _, version = folder.stem.partition("-")
                versions.setdefault(_normal(name), version)
    return versions


def _normal(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def _version(package: str, known: Mapping[str, str]) -> str | None:
    if version := known.get(_normal(package)):
        return version
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # it may be the name of a module of another package
        found = vars(sys.modules[package]).get("__version__") if package in sys.modules else None
        return found if isinstance(found, str) else None


def _usable_cpus() -> int:
    """The cores this process may use, which a scheduler can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str | None:
    """The processor's model name; `platform.processor` is empty on Linux, or starts a process."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
            named = next((line for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.machine() or None
    return named.partition(":")[2].strip() or platform.machine() or None


def _gpu(device: str) -> dict[str, object] | None:
    """The GPU's name, memory and CUDA version; None where the run uses none, or torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    index = int(device.partition(":")[2] or torch.cuda.current_device())
    about = torch.cuda.get_device_properties(index)
    return {
        "name": about.name,
        "memory_bytes": about.total_memory,
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
