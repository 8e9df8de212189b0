import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lab.provenance.machine import collect
from lab.store import file_io


def test_the_record_is_plain_data_and_complete(tmp_path: Path) -> None:
    command = ["python", "main.py", "--set", "trackers.0.api_key=abc"]
    record = collect(command, 7, "cpu", tmp_path, ["timm", "yaml"])
    assert json.loads(file_io.to_json(record)) == record
    assert record["command"] == [*command[:3], "trackers.0.api_key=***"]
    assert (record["seed"], record["device"], record["gpu"]) == (7, "cpu", None)
    assert record["platform"] == platform.platform()
    assert record["python"] == platform.python_version() and record["folder"] == str(tmp_path)
    for name in ("torch", "numpy", "optuna", "pydantic", "scikit-learn", "segmentation-models-pytorch"):
        assert record["packages"][name] == importlib.metadata.version(name)
    assert record["packages"]["timm"] == importlib.metadata.version("timm")
    assert record["packages"]["yaml"] == importlib.metadata.version("PyYAML")  # by another name
    assert 1 <= record["cpus"] <= (os.cpu_count() or 1) and record["processor"]


def test_settings_of_the_environment_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    environment = collect([], 0, "cpu")["environment"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "3" and "WANDB_API_KEY" not in environment


def test_no_package_is_imported_to_learn_its_version() -> None:
    code = (
        "import sys; from lab.provenance.machine import collect; collect([], 0, 'cuda:0');"
        "print({'torch', 'numpy', 'optuna', 'pydantic', 'wandb'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_gpu_is_named_where_torch_is_loaded() -> None:
    import torch

    gpu = collect([], 0, "cuda")["gpu"]
    if not torch.cuda.is_available():
        assert gpu is None
    else:
        assert gpu["name"] == torch.cuda.get_device_name(0) and gpu["memory_bytes"] > 0
