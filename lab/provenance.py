"""Where a result came from: versions, machine, code and command, so that it can be made again.

Packages are asked for their version without being imported, and git is asked twice, so that a run loses less
than a tenth of a second here. What can't be found out is None: no record is worth a failed run.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from lab.redact import redact_arguments, redact_source

PACKAGES = (
    *("torch", "torchvision", "numpy", "optuna", "pydantic", "albumentations", "segmentation-models-pytorch"),
    *("scikit-learn", "opencv-python-headless", "wandb", "tensorboard", "matplotlib", "PyYAML"),
)
ENVIRONMENT = (
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_ALLOC_CONF"),
    *("PYTORCH_CUDA_ALLOC_CONF", "PYTHONHASHSEED", "WANDB_MODE", "SLURM_JOB_ID"),
)
MAX_DIFF = 1_000_000  # characters
MAX_UNTRACKED = 500
_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")  # set within a hook of git
_PATIENCE = 5.0  # seconds for one question to git, which a network folder can make slow


def collect(command: Sequence[str], seed: int, device: str, folder: Path | None = None) -> dict[str, Any]:
    """Everything that a result depends on besides its config, as plain data.

    Args:
        command: the command line; values that look secret are replaced by `***`, in the diff too.
        device: such as `cuda:0`; its name is read where torch is loaded already, which it is in a run.
        folder: the project, by default the current folder. Its git commit and uncommitted changes are kept.
    """
    return {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": redact_arguments(command),
        "folder": str((folder or Path()).absolute()),
        "seed": seed,
        "device": device,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "processor": processor(),
        "cpus": _usable_cpus(),
        "gpu": _gpu(device),
        "packages": {name: _version(name) for name in PACKAGES},
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "git": git_state(folder or Path()),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit, branch, and what of the folder is not committed; None where git or a repository is missing.

    `diff` holds the changes of tracked files against the commit, at most `MAX_DIFF` characters of them, and
    None where git couldn't tell; of untracked files the names are kept, for they may be large data.
    """
    status = _git(folder, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--", ".")
    if status is None:
        return None
    lines = status.split("\0")
    about = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# branch."))
    commit = about.get("branch.oid", "(initial)")
    untracked = [line[2:] for line in lines if line.startswith("? ")]
    changed = any(line.startswith(("1 ", "2 ", "u ")) for line in lines)
    diff: str | None = ""
    if changed:
        against = [] if commit == "(initial)" else ["HEAD"]
        diff = _git(folder, "diff", "--no-color", "--no-ext-diff", "--no-textconv", *against, "--", ".")
    cut = diff is not None and len(diff) > MAX_DIFF
    return {
        "commit": None if commit == "(initial)" else commit,
        "branch": about.get("branch.head"),
        "dirty": changed or bool(untracked),
        "diff": None if diff is None else redact_source(diff[:MAX_DIFF]),
        "diff_cut": cut,
        "untracked": untracked[:MAX_UNTRACKED],
        "untracked_count": len(untracked),
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it is missing, fails or takes too long. It locks and asks nothing."""
    inherited = {name: value for name, value in os.environ.items() if name not in _ANOTHER_REPOSITORY}
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=True,
            env={**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", errors="replace")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


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


def _gpu(device: str) -> dict[str, Any] | None:
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
