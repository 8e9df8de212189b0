"""What a run's folder must hold, which weights are taken, and what is said of the rest."""

from pathlib import Path

import pytest
import torch
from torch import nn

from lab.checkpoint import CheckpointError, save
from lab.config import ConfigError
from lab.predict.loaded_run import load, missing_parts, parts_of, task_of
from lab.store import run_folder
from lab.tasks import Regression, Segmentation
from tests.inference_tools import HERE, PLAIN, make_run


def weight(path: Path) -> float:
    return float(load(path).model.weight)  # type: ignore[arg-type]


def test_a_run_is_ready_to_predict(tmp_path: Path) -> None:
    loaded = load(make_run(tmp_path / "run", weight=3.5))
    assert loaded.weights == tmp_path / "run" / "checkpoints" / "best.pt" and loaded.epoch == 7
    assert not loaded.model.training and not any(p.requires_grad for p in loaded.model.parameters())
    assert float(loaded.model.weight) == 3.5  # type: ignore[arg-type]
    assert (loaded.classes, loaded.channels, loaded.notes) == (["background", "spot"], 3, ())
    assert isinstance(loaded.task, Segmentation) and loaded.task.tile == 64


def test_the_averaged_weights_are_taken_where_there_are_any(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    ema = {"n_averaged": torch.tensor(3), "module.weight": torch.tensor(5.0)}
    save(run / "checkpoints" / "best.pt", {"model": {"weight": torch.tensor(1.0)}, "ema": ema, "data": PLAIN})
    assert weight(run) == 5.0


def test_pretrained_weights_are_not_fetched(tmp_path: Path) -> None:
    # The network's constructor fails if it is asked for any, which its default does.
    assert load(make_run(tmp_path / "a")).config.net.arguments["encoder_weights"] is None
    named = {"target": f"{HERE}.Brightness", "encoder_weights": "imagenet"}
    assert load(make_run(tmp_path / "b", named)).config.net.arguments["encoder_weights"] is None


def test_the_last_weights_of_a_finished_run_will_do_and_that_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "checkpoints" / "best.pt").rename(run / "checkpoints" / "final.pt")
    loaded = load(run)
    assert loaded.weights.name == "final.pt" and "there is no best.pt" in loaded.notes[0]


def test_the_best_of_a_study_has_its_weights_beside_the_config(tmp_path: Path) -> None:
    best = make_run(tmp_path / "best", weight=2.0)
    (best / "checkpoints" / "best.pt").rename(best / "best.pt")
    (best / "checkpoints").rmdir()
    assert load(best).weights == best / "best.pt" and weight(best) == 2.0


@pytest.mark.parametrize("kind", ["seed", "fold"])
def test_of_several_runs_one_must_be_named(tmp_path: Path, kind: str) -> None:
    for number in (0, 10, 2):
        make_run(tmp_path / f"{kind}_{number}")
    (tmp_path / run_folder.CONFIG).write_text("name: whole\n")
    with pytest.raises(ValueError, match="consists of 3 runs; name one of them") as error:
        load(tmp_path)
    assert str(error.value).splitlines()[1:] == [f"  {tmp_path}/{kind}_{number}" for number in (0, 2, 10)]
    assert weight(tmp_path / f"{kind}_2") == 40.0


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not a run folder: it has no config\.yaml"):
        load(tmp_path)
    run = make_run(tmp_path / "run")
    (run / "checkpoints" / "best.pt").unlink()
    with pytest.raises(CheckpointError, match=r"neither best\.pt nor final\.pt"):
        load(run)


def test_damaged_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    best = run / "checkpoints" / "best.pt"
    whole = best.read_bytes()
    best.write_bytes(whole[:-300] + b"\1" + whole[-299:])
    with pytest.raises(CheckpointError, match="checksum doesn't match"):
        load(run)
    save(best, {"model": nn.Linear(2, 2).state_dict(), "data": PLAIN})
    with pytest.raises(CheckpointError, match=r"doesn't fit the network of .*config\.yaml"):
        load(run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_another_machine_may_have_other_devices(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", device="cuda:3")
    loaded = load(run)
    assert (
        "the run's device cuda:3 is not available" in loaded.notes[0] and loaded.runtime.device.type != "cuda"
    )
    assert load(run, device="cpu").notes == ()
    with pytest.raises(ConfigError, match="found 'cuda:3'"):
        load(run, device="cuda:3")


def test_the_parts_of_a_run_and_its_task(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", task="lab.tasks.Regression")
    assert parts_of(run) == [(run, "")] and task_of(run) is Regression
    for number in (10, 2):
        make_run(tmp_path / "several" / f"fold_{number}")
    several = tmp_path / "several"
    (several / run_folder.CONFIG).write_text("folds: 4\nnet: model.MLP\ndata: lab.data.function\n")
    assert missing_parts(several) == ["3 of 4 are not trained yet: fold_0, fold_1, fold_3"]
    assert missing_parts(run) == []
    assert parts_of(several) == [(several / "fold_2", "fold_2"), (several / "fold_10", "fold_10")]
