"""Which import paths a config may name, and that nothing of the others is imported."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.config import ConfigError, OptimizeConfig, RunConfig, import_policy
from lab.config.import_target import resolve
from lab.config.validation import validate
from tests.conftest import ROOT

Write = Callable[[str], str]


@pytest.fixture(autouse=True)
def _nothing_granted(_granted: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(import_policy.VARIABLE)


def refused(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(name)
    assert [problem.path for problem in caught.value.problems] == [("target",)]
    return caught.value.problems[0].message


@pytest.mark.parametrize(
    "name",
    [
        "torch.nn.Linear", "torch.nn.functional.gelu", "torch.nn.functional.max_pool2d", "torch.tensor",
        "torch.nn.functional.conv2d", "torch.tanh", "torch.einsum", "torch.special.erf", "torch.linalg.norm",
        "torch.optim.lr_scheduler.OneCycleLR", "torch.optim.swa_utils.AveragedModel",
        "torch.utils.data.TensorDataset", "torchvision.models.resnet18", "torchvision.transforms.v2.Resize",
        "torchvision.datasets.MNIST", "timm.create_model", "timm.optim.Lamb", "albumentations.D4",
        "segmentation_models_pytorch.Unet", "segmentation_models_pytorch.losses.DiceLoss",
        "albumentations.pytorch.ToTensorV2",
        "optuna.samplers.TPESampler", "optuna.pruners.PatientPruner", "sklearn.metrics.f1_score",
        "sklearn.datasets.load_digits", "sklearn.model_selection.train_test_split", "lab.data.digits",
        "lab.metrics.segmentation.Dice", "lab.graphs.IoUMatcher", "lab.hpo.pfl.PredictedFinalLoss",
        "model.MLP",
    ],
)  # fmt: skip
def test_what_networks_and_data_are_made_of_is_open(name: str) -> None:
    assert callable(resolve(name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("os.system", "configs may name what is beside main.py, .*; --allow-import os lets it in, where .*"),
        ("builtins.eval", "configs may name .*; --allow-import builtins .*"),
        ("numpy.load", ".*; --allow-import numpy .*"),
        ("torch.load", "of 'torch', configs may name only .*; --allow-import torch.load .*"),
        ("torch.hub.load", ".*; --allow-import torch.hub .*"),
        ("torch.os.system", ".*"),
        ("torch.utils.cpp_extension.load", ".*; --allow-import torch.utils.cpp_extension .*"),
        ("torch.from_file", ".*"),
        ("torch.device", ".*"),
        ("torch.PyTorchFileWriter", ".*"),
        ("lab.store.run_folder.os.system", ".*"),
        ("lab.store.file_io.atomic_write", ".*"),
        ("lab.config.import_target.resolve", ".*"),
        ("selftest.bench.Bench", ".*"),
        ("sklearn.datasets.clear_data_home", ".*"),
        ("timm.models.load_checkpoint", ".*; --allow-import timm.models.load_checkpoint .*"),
        ("albumentations.load", ".*"),
        ("segmentation_models_pytorch.from_pretrained", ".*"),
        ("main.main", ".*"),
        ("tests.conftest.main_py", ".*"),
    ],
)
def test_doors_are_closed(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{name}' may not be named; {reason}"):
        import_policy.admit(name)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lab.data.loaders.torch.hub.load", "'lab.data.loaders.torch' may not be named: it is torch;"),
        ("albumentations.os.system", "'albumentations.os' may not be named: it is os;"),
        ("torch.nn.functional.Callable", "it is collections.abc.Callable;"),
        ("torch.optim.lr_scheduler.partial", "it is functools.partial;"),
        (
            "lab.data.segmentation_files.Path.write_text",
            "'lab.data.segmentation_files.Path' may not be named: it is pathlib.Path;",
        ),
    ],
)
def test_what_was_defined_elsewhere_is_closed(name: str, said: str) -> None:
    import_policy.admit(name)
    assert said in refused(name)


@pytest.mark.parametrize(
    "name", ["torch.nn.Linear.__init__", "torch.nn.Linear.__init__.__globals__", "torch._C.x", "model._Block"]
)
def test_what_is_private_is_closed_and_stays_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, "torch,model")
    assert "is private" in refused(name)


def test_nothing_of_a_refused_path_is_imported(
    tmp_path: Path, mine: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = mine("from pathlib import Path\nPath('marker').touch()\nclass Net: pass\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # a module on the path, but in no folder of the project
    assert f"--allow-import {name} lets it in" in refused(f"{name}.Net")
    assert name not in sys.modules and not Path("marker").exists()
    monkeypatch.setenv(import_policy.VARIABLE, f"einops,{name}")
    assert resolve(f"{name}.Net").__name__ == "Net"
    assert Path("marker").exists()


def test_a_grant_of_a_package_leaves_its_doors_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, "torch")
    assert callable(resolve("torch.device"))
    assert "--allow-import torch.hub" in refused("torch.hub.load")
    monkeypatch.setenv(import_policy.VARIABLE, "torch.hub")
    assert callable(resolve("torch.hub.load"))


@pytest.mark.parametrize("name", ["lab.store.file_io.atomic_write", "lab.rundir.atomic_write",
                                  "lab.store.run_folder.create", "lab.hpo.forkserver.Context"])  # fmt: skip
def test_a_grant_of_lab_leaves_what_writes_files_closed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(import_policy.VARIABLE, "lab")
    assert not import_policy.is_open(name)
    monkeypatch.setenv(import_policy.VARIABLE, import_policy.current(name))
    assert import_policy.is_open(name)


def test_the_users_own_names_for_what_is_elsewhere(mine: Write) -> None:
    name = mine("from os import system\nfrom functools import partial\nfrom torch.nn import Linear\n"
                "import torch.nn as nn\nnet = partial(Linear, 3)\n")  # fmt: skip
    assert resolve(f"{name}.Linear") == resolve(f"{name}.nn.Linear") == resolve("torch.nn.Linear")
    assert "posix.system" in refused(f"{name}.system")
    assert "functools.partial" in refused(f"{name}.net")


def test_installed_packages_in_the_current_folder_are_not_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy

    monkeypatch.chdir(Path(numpy.__file__).parents[1])
    assert "--allow-import numpy" in refused("numpy.load")


def test_a_run_names_all_closed_paths_before_it_imports_any(mine: Write) -> None:
    marker = "from pathlib import Path\nPath('marker').touch()\nclass Net: pass\n"
    data = {
        "data": {"target": "lab.data.function", "transforms": [{"x": {"target": "os.system"}}]},
        "net": f"{mine(marker)}.Net",
        "trackers": ["subprocess.Popen"],
    }
    with pytest.raises(ConfigError) as caught:
        validate(RunConfig, data).check()
    assert [problem.path for problem in caught.value.problems] == [
        ("data", "transforms", 0, "x", "target"),
        ("trackers", 0, "target"),
    ]
    assert not Path("marker").exists()


def test_a_study_names_them_wherever_they_stand() -> None:
    data = {
        "study_name": "small",
        "run": {"data": "lab.data.function", "net": "model.MLP", "criterion": "os.system"},
        "set": {"task": "os.system"},
        "sampler": {"target": "optuna.samplers.PartialFixedSampler", "base_sampler": {"target": "os.system"}},
        "pruner": "os.system",
        "search_space": {"net": {"choices": ["model.MLP", "os.system"]}, "optimizer.lr": {"choices": [1.0]}},
    }
    with pytest.raises(ConfigError) as caught:
        OptimizeConfig.model_validate(data).check_shapes()
    assert sorted(".".join(map(str, problem.path)) for problem in caught.value.problems) == [
        "pruner.target", "run.criterion.target", "sampler.base_sampler.target",
        "search_space.net.choices.1.target", "set.task.target",
    ]  # fmt: skip


def test_guard_reaches_other_processes_and_torchs_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "")  # so that monkeypatch takes it away again
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    monkeypatch.setenv(import_policy.VARIABLE, "einops")
    import_policy.guard([])
    assert import_policy.os.environ[import_policy.VARIABLE] == "einops"
    import_policy.guard(["my_nets", "torch.hub"])
    assert import_policy.os.environ[import_policy.VARIABLE] == "my_nets,torch.hub"
    assert import_policy.os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "0")
    import_policy.guard([])
    assert import_policy.os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "0"


def test_a_folder_that_is_a_record_is_no_module_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, record in (("mine", None), ("shared", "summary.json"), ("runs", None), ("given", "best.pt")):
        place = tmp_path / folder / "inner"
        place.mkdir(parents=True)
        (place / "evil.py").write_text("def net(): return 1\n")
        if record:
            (tmp_path / folder / record).touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {
        name: import_policy.is_open(f"{name}.inner.evil.net") for name in ("mine", "shared", "runs", "given")
    }
    assert found == {"mine": True, "shared": False, "runs": False, "given": False}


@pytest.mark.parametrize(
    "path",
    ["sklearn.tree.export_graphviz", "sklearn.metrics.tests.test_common.f", "sklearn.show_versions",
     "selftest.faulty_parts.Souring"],
)  # fmt: skip
def test_what_writes_files_or_dies_on_demand_is_closed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    assert not import_policy.is_open(path)
    monkeypatch.setenv(import_policy.VARIABLE, "selftest.faulty_parts")
    assert import_policy.is_open("selftest.faulty_parts.Souring") and not import_policy.is_open(
        "selftest.bench.Bench"
    )


def test_of_the_project_itself_configs_may_name_only_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new package or module at the top is importable, as it is beside main.py, and has to be closed."""
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    top = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/*.py")}
    assert {"main", "model", "lab", "selftest", "tests"} <= top
    assert [name for name in sorted(top) if import_policy.is_open(f"{name}.anything")] == ["model"]


OPEN_IN_LAB = {"data", "graphs", "hpo.cma", "hpo.pfl", "losses", "metrics", "tasks"}


def test_every_part_of_lab_is_closed_but_for_those_that_are_meant_to_be_open() -> None:
    """A new entry of `lab/` is closed unless it is in `gate.OPEN`, and then in the set above, too."""
    parts = {path.stem for path in (ROOT / "lab").iterdir() if path.suffix == ".py" or path.is_dir()}
    parts |= {f"hpo.{path.stem}" for path in (ROOT / "lab" / "hpo").glob("*.py")}
    assert {"config", "store", "hpo.forkserver"} <= parts
    assert {name for name in parts if import_policy.is_open(f"lab.{name}.Thing")} == OPEN_IN_LAB


def test_every_entry_about_the_project_stands_for_something() -> None:
    """An entry for a place that has moved would leave the new one closed, or open."""
    entries = {entry for entry in (*import_policy.OPEN, *import_policy.CLOSED) if entry.startswith("lab.")}
    files = {entry: ROOT / entry.replace(".", "/") for entry in entries}
    assert [
        entry for entry, file in files.items() if not (file.is_dir() or file.with_suffix(".py").is_file())
    ] == []
