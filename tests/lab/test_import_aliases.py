"""Import paths of earlier versions, by a table that the test makes: in configs, records and imports."""

import importlib
import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import optuna
import pytest
import yaml

import lab
from lab import import_aliases
from lab.config import ConfigError, RunConfig, import_policy
from lab.config.config_diff import differences, same
from lab.config.import_target import resolve
from lab.config.signature_stubs import _stand_in, look
from lab.config.validation import validate
from lab.hpo.compatibility import refuse, run_problems
from lab.import_aliases import MOVED, current, notes
from lab.metrics import regression
from lab.provenance.user_modules import imported
from main import main

RUN = """\
epochs: 1
batch_size: 16
device: cpu
pictures: {enabled: false}
task: lab.jobs.Regression
data: {target: lab.sources.function, train_count: 32, val_count: 16}
net: {target: model.MLP, width: 4, layers: 1}
metrics: {mae: lab.measures.regression.MAE, again: lab.mistakes.Mean}
"""
STUDY = """\
study_name: s
run: run.yaml
n_trials: 1
isolation: none
search_space:
  metrics.mae: {choices: [lab.measures.MAE, lab.measures.RMSE]}
  optimizer.lr: {type: float, low: 0.01, high: 0.1}
"""
NEW = {
    "lab.jobs": "lab.tasks",
    "lab.measures": "lab.metrics",
    "lab.sources": "lab.data",
    "lab.mistakes:Mean": "lab.metrics:MAE",
    "lab.disks": "lab.store.file_io",
}


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = set(sys.modules)
    for old, new in NEW.items():
        monkeypatch.setitem(MOVED, old, new)
    monkeypatch.delenv(import_policy.VARIABLE, raising=False)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("lab.jobs", "lab.measures", "lab.sources", "lab.disks", "lab.fresh")):
            del sys.modules[name]
    for name in ("jobs", "measures", "sources", "disks", "fresh", "fresher"):
        vars(lab).pop(name, None)


@pytest.fixture
def mine(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Write the user's own module `mine`; and modules in the current folder are modules of `lab`, too."""
    monkeypatch.syspath_prepend(str(workplace))
    monkeypatch.setattr(lab, "__path__", [*lab.__path__, str(workplace)])

    def write(source: str) -> Path:
        sys.modules.pop("mine", None)
        file = workplace / "mine.py"
        file.write_text(source)
        importlib.invalidate_caches()
        return file

    yield write
    sys.modules.pop("mine", None)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("lab.measures", "lab.metrics"),
        ("lab.measures.regression.MAE", "lab.metrics.regression.MAE"),
        ("lab.mistakes.Mean", "lab.metrics.MAE"),
        ("lab.mistakes.Mean.update", "lab.metrics.MAE.update"),
        ("lab.mistakes.Other", "lab.mistakes.Other"),
        ("lab.measures_", "lab.measures_"),
        ("mine.lab.measures", "mine.lab.measures"),
        ("lab", "lab"),
        ("", ""),
    ],
)
def test_the_longest_entry_that_fits_replaces_whole_names(old: str, new: str) -> None:
    assert current(old) == new


def test_an_entry_for_one_name_comes_before_that_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MOVED, "lab.measures:MSE", "lab.metrics.regression:RMSE")
    assert current("lab.measures.MSE") == "lab.metrics.regression.RMSE"
    assert current("lab.measures.MAE") == "lab.metrics.MAE"


def test_a_config_names_the_new_thing_and_the_gate_judges_the_new_path() -> None:
    assert resolve("lab.measures.regression.MAE") is regression.MAE
    assert resolve("lab.mistakes.Mean") is regression.MAE
    assert not {"lab.measures", "lab.mistakes"} & sys.modules.keys()
    with pytest.raises(ConfigError, match=r"'lab.store.file_io.atomic_write' may not be named"):
        resolve("lab.disks.atomic_write")
    with pytest.raises(ConfigError, match=r"'lab.metrics.torch' may not be named|has no 'torch'"):
        resolve("lab.measures.torch.hub.load")
    with pytest.raises(ConfigError, match=r"'lab.metrics' has no 'MEA'; did you mean 'MAE'"):
        resolve("lab.measures.MEA")


def test_a_grant_by_an_old_path_opens_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not import_policy.is_open("lab.store.file_io.atomic_write")
    monkeypatch.setenv(import_policy.VARIABLE, "lab.disks")
    assert import_policy.is_open("lab.store.file_io.atomic_write") and import_policy.is_open(
        "lab.disks.atomic_write"
    )


def test_sources_are_read_at_the_new_path() -> None:
    found = look("lab.measures.regression.MAE")
    assert found is not None and found.__name__ == "MAE"
    with pytest.raises(ConfigError, match="did you mean 'MAE'"):
        look("lab.measures.regression.MEA")


def test_sources_of_a_module_of_ones_own_are_followed_to_the_new_path(mine: Callable[[str], Path]) -> None:
    mine("from lab.measures.regression import MAE\nclass Mine(MAE): pass\n")
    _stand_in.cache_clear()
    found, wanted = look("mine.Mine"), look("lab.metrics.regression.MAE")
    assert found is not None and wanted is not None
    assert inspect.signature(found) == inspect.signature(wanted)


def test_an_import_gives_the_module_itself_and_warns_at_the_line_that_imports(
    mine: Callable[[str], Path],
) -> None:
    file = mine(
        "import torch\n\nfrom lab.measures.regression import MAE\nimport lab.measures.base as base\n"
        "from lab import measures\nimport lab.measures\nwhole = lab.measures\n"
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module("mine")
    assert module.MAE is regression.MAE
    assert module.base is importlib.import_module("lab.metrics.base")
    assert module.measures is module.whole is importlib.import_module("lab.metrics")
    assert sys.modules["lab.measures"] is sys.modules["lab.metrics"]
    assert (module.measures.__name__, module.measures.__spec__.name) == ("lab.metrics", "lab.metrics")
    found = [(each.category, each.filename, each.lineno, str(each.message)) for each in caught]
    text = "{} is deprecated and will be removed: it is {} now"
    assert found == [
        (DeprecationWarning, str(file), line, text.format(f"lab.measures{part}", f"lab.metrics{part}"))
        for line, part in ((3, ""), (3, ".regression"), (4, ".base"))
    ]


def test_a_moved_module_that_is_imported_first_by_its_old_path_is_no_second_copy(
    mine: Callable[[str], Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "fresh").mkdir()
    (workplace / "fresh" / "__init__.py").write_text("")
    (workplace / "fresh" / "part.py").write_text("made = []\nmade.append(1)\nclass Part: pass\n")
    monkeypatch.setitem(MOVED, "lab.fresher", "lab.fresh")
    mine("from lab.fresher.part import Part, made\n")
    with pytest.deprecated_call(match=r"lab.fresher.part is deprecated .* it is lab.fresh.part now"):
        module = importlib.import_module("mine")
    part = importlib.import_module("lab.fresh.part")
    assert module.Part is part.Part and module.Part.__module__ == "lab.fresh.part"
    assert module.made is part.made and part.made == [1]


def test_an_old_name_in_a_module_is_the_new_one_and_warns(
    mine: Callable[[str], Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "fresh.py").write_text("class Better: pass\n")
    monkeypatch.setitem(MOVED, "lab.fresher", "lab.fresh")
    monkeypatch.setitem(MOVED, "lab.fresher:Good", "lab.fresh:Better")
    monkeypatch.setitem(MOVED, "lab.fresh:Mean", "lab.metrics.regression:MAE")
    file = mine("from lab.fresh import Better, Mean\nimport lab.fresher as old\n\nGood = old.Good\n")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module("mine")
    assert module.Good is module.Better and module.Mean is regression.MAE
    assert [(each.filename, each.lineno) for each in caught] == [(str(file), line) for line in (1, 2, 4)]
    assert str(caught[2].message).startswith("lab.fresh.Good is deprecated")
    with pytest.raises(AttributeError, match=r"module 'lab.fresh' has no attribute 'Bad'"):
        module.old.Bad  # noqa: B018
    with pytest.raises(ImportError, match=r"cannot import name 'Bad' from 'lab.fresh'"):
        exec("from lab.fresh import Bad")


def test_a_new_path_that_is_missing_is_an_import_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MOVED, "lab.disks", "lab.nowhere")
    with pytest.warns(DeprecationWarning), pytest.raises(ModuleNotFoundError, match=r"lab\.nowhere"):
        importlib.import_module("lab.disks")
    assert "lab.disks" not in sys.modules


def test_the_finder_is_there_once() -> None:
    import_aliases.install()
    assert [type(finder).__name__ for finder in sys.meta_path].count("_Finder") == 1


def test_old_and_new_paths_are_equal_values_of_configs() -> None:
    assert same("lab.measures.MAE", "lab.metrics.MAE") and not same("lab.measures.MAE", "lab.metrics.MSE")
    assert same({"a": ["lab.jobs.Regression"]}, {"a": ("lab.tasks.Regression",)})
    assert differences({"task": {"target": "lab.jobs.A"}}, {"task": {"target": "lab.tasks.A"}}) == []


def test_notes_name_each_path_once() -> None:
    assert notes(["lab.jobs.A", "lab.tasks.A", "lab.jobs.A", "lab.disks"]) == [
        "lab.jobs.A is deprecated and will be removed: it is lab.tasks.A now",
        "lab.disks is deprecated and will be removed: it is lab.store.file_io now",
    ]


def from_text(text: str) -> RunConfig:
    return validate(RunConfig, yaml.safe_load(text))


def renewed(text: str) -> str:
    for old, new in NEW.items():
        text = text.replace(old.replace(":", "."), new.replace(":", "."))
    return text


def test_a_run_says_what_has_moved_and_is_resumed_by_the_new_paths(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run.yaml").write_text(RUN)
    assert main(["--run", "run.yaml"]) == 0
    output = capsys.readouterr().out
    for path in ("jobs.Regression", "sources.function", "measures.regression.MAE", "mistakes.Mean"):
        old = f"lab.{path}"
        assert output.count(f"{old} is deprecated and will be removed: it is {current(old)} now") == 1
    run = next(Path("runs").iterdir())
    assert RunConfig.from_yaml(run / "config.yaml").task.target == "lab.jobs.Regression"  # as it was written
    first = (run / "metrics.csv").read_text().splitlines()
    assert first[0].count("val_mae") == first[0].count("val_again") == 1

    Path("run.yaml").write_text(renewed(RUN))
    assert main(["--resume", str(run), "--run", "run.yaml", "--set", "epochs=2"]) == 0
    output = capsys.readouterr().out
    assert "deprecated" not in output and "task" not in output and "is reset" not in output
    assert len((run / "metrics.csv").read_text().splitlines()) == 3
    # A change of the task is refused, if it is one.
    (run / "config.yaml").write_text(RUN.replace("epochs: 1", "epochs: 3"))
    assert main(["--resume", str(run)]) == 0
    wrong = RUN.replace("lab.jobs.Regression", "lab.jobs.Segmentation")
    Path("run.yaml").write_text(wrong)
    assert main(["--resume", str(run), "--run", "run.yaml", "--set", "epochs=4"]) == 2
    assert "task" in capsys.readouterr().err


@pytest.mark.parametrize("turned", [False, True])
def test_a_study_is_continued_by_the_other_paths(
    workplace: Path, capsys: pytest.CaptureFixture[str], turned: bool
) -> None:
    written = [(RUN, STUDY), (renewed(RUN), renewed(STUDY))]
    for number, (run, study) in enumerate(reversed(written) if turned else written, start=1):
        Path("run.yaml").write_text(run)
        Path("study.yaml").write_text(study)
        assert main(["--optimize", "study.yaml", "--set", f"n_trials={number}"]) == 0
        output = capsys.readouterr().out
        old = "lab.measures.RMSE is deprecated and will be removed: it is lab.metrics.RMSE now"
        assert output.count(old) == (run is RUN)
    trials = optuna.load_study(study_name="s", storage="sqlite:///studies.db").trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert main(["--optimize", "study.yaml", "--set", "n_trials=1", "--fork", "t"]) == 0
    assert "2 of 2 finished trials of 's' fit" in capsys.readouterr().out


def test_only_what_differs_besides_is_named() -> None:
    old, new = from_text(RUN), from_text(renewed(RUN))
    changed = new.with_values({"data.train_count": 64})
    found = list(run_problems(old.as_data(), changed.as_data()))
    assert [(problem.path, problem.message) for problem in found] == [
        (("run", "data", "train_count"), "the study has 32, the file has 64")
    ]


def test_of_a_choice_only_what_differs_besides_is_named() -> None:
    def described(*choices: Mapping[str, object]) -> dict[str, object]:
        config = {"search_space": {"task": {"type": "categorical", "choices": list(choices)}}}
        return {"config": config, "base": from_text(RUN).as_data()}

    old = described({"target": "lab.jobs.Segmentation", "tile": 8}, {"target": "lab.jobs.Regression"})
    new = described({"target": "lab.tasks.Segmentation", "tile": 9}, {"target": "lab.tasks.Regression"})
    with pytest.raises(ConfigError) as caught:
        refuse(old, new, "s")
    assert [problem.message for problem in caught.value.problems] == [
        "Segmentation, tile: the study has 8, the file has 9"
    ]


def test_without_the_table_it_is_another_task(
    workplace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("run.yaml").write_text(RUN)
    Path("study.yaml").write_text(STUDY)
    assert main(["--optimize", "study.yaml"]) == 0
    monkeypatch.setitem(MOVED, "lab.jobs", "lab.tasks.base")
    Path("run.yaml").write_text(renewed(RUN))
    capsys.readouterr()
    assert main(["--optimize", "study.yaml", "--set", "n_trials=2"]) == 2
    assert 'the study has "lab.jobs.Regression", the file has' in capsys.readouterr().err


def test_the_record_of_code_names_modules_by_their_new_paths() -> None:
    with pytest.warns(DeprecationWarning):
        importlib.import_module("lab.measures.regression")
    found = {module.name: module.named for module in imported(["lab.measures.regression.MAE"])}
    assert found["lab.metrics.regression"] is True and found["lab.metrics.base"] is False
    assert not [name for name in found if name.startswith("lab.measures")]
