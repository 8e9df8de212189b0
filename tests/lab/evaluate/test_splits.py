from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import TensorDataset

from lab.config.dataset_info import DatasetInfo
from lab.data.normalization import Normalise
from lab.data.protocols import NamedDataset
from lab.data.splits import Splits
from lab.evaluate.base import HeldOut, as_trained, usual_split
from lab.predict.loaded_run import LoadedRun, load
from tests.inference_tools import make_run

NORMALISED = {"normalise": "train", "mean": [0.2, 0.3, 0.4], "std": [0.1, 0.2, 0.3]}


class Named(list[Any], NamedDataset):
    names = ["a", "b"]  # noqa: RUF012 - an attribute like any other


def loaded(folder: Path, **facts: Any) -> LoadedRun:
    return load(make_run(folder / "run", facts={"in_channels": 3, **facts}))


def test_names_are_the_datas_or_numbers(tmp_path: Path) -> None:
    run = loaded(tmp_path)
    plain = TensorDataset(torch.zeros(3, 1))
    splits = Splits(plain, plain, Named([0, 0]))  # type: ignore[arg-type]
    assert (usual_split(splits), usual_split(Splits(plain, plain))) == ("test", "val")
    assert HeldOut(run, splits, "test").names() == ["a", "b"] and HeldOut(run, splits, "val").names() == [
        "0",
        "1",
        "2",
    ]
    for splits, split, message in (
        (Splits(plain, plain), "test", "has no test images; data.test_share"),
        (Splits(plain, TensorDataset(torch.zeros(0, 1))), "val", "val data is empty"),
        (Splits(plain, iter(())), "val", "does not support len\\(\\) and indexing"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=message):
            HeldOut(run, splits, split).names()  # type: ignore[arg-type]


def test_images_get_the_normalisation_of_the_training() -> None:
    image = torch.rand(3, 4, 5)
    today = {"normalise": "train", "mean": [0.5, 0.5, 0.5], "std": [0.3, 0.2, 0.1]}
    then, now = (Normalise.from_facts(facts) for facts in (NORMALISED, today))
    assert then is not None and now is not None
    trained, todays = DatasetInfo.from_facts(NORMALISED), DatasetInfo.from_facts(today)
    torch.testing.assert_close(as_trained(now(image), trained, todays), then(image))
    own = DatasetInfo(normalise="image")
    for old, new in ((DatasetInfo(), todays), (todays, todays), (own, own)):
        assert as_trained(image, old, new) is image


def test_another_set_than_the_trainings_is_noted(tmp_path: Path) -> None:
    run = loaded(tmp_path, split={"train": ["a"], "val": ["x", "y"], "test": []}, **NORMALISED)
    data = Splits(TensorDataset(torch.zeros(1, 1)), None, None, NORMALISED)
    assert list(HeldOut(run, data, "val").changes(["y", "x"])) == []
    assert list(HeldOut(run, data, "val", "fold_2").changes(["z", "y", "w"])) == [
        "fold_2: the val set has changed since the run was trained: "
        "2 images are new, such as w; 1 images are missing, such as x"
    ]


def test_changes_are_noted(tmp_path: Path) -> None:
    run = loaded(tmp_path, split={"train": ["a", "b", "c"]}, **NORMALISED)
    data = TensorDataset(torch.zeros(1, 1))
    same = Splits(data, data, None, NORMALISED)
    notes = list(HeldOut(run, same, "val", "seed_1").changes(["d", "c", "b"]))
    assert len(notes) == 1 and notes[0].startswith(
        "seed_1: the network was trained on 2 of these images, such as b"
    )
    assert list(HeldOut(run, same, "val").changes(["d"])) == []
    other = same._replace(facts={**NORMALISED, "std": [1, 1, 1]})
    (note,) = HeldOut(run, other, "val").changes(["d"])
    assert note == "the training images have changed since; the normalisation is that of the training"
