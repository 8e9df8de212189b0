import json
from typing import Any

import albumentations as A
import numpy as np
import pytest

from lab.config.mask_values import IGNORE_INDEX
from lab.data.pair_cache import Pair
from lab.data.patches import Patches, PatchPairs
from lab.data.segmentation_sets import Sample, Serving, assemble, divide
from lab.data.splits import Cut, Parts, Splits

SIZES = [(8, 8), (6, 9), (8, 8), (4, 4), (6, 9), (8, 8), (4, 4), (5, 5)]


def pairs() -> list[Pair]:
    rng = np.random.default_rng(0)
    return [
        (rng.integers(k, 200, (*size, 1), np.uint8), rng.integers(0, 2, size, np.uint8))
        for k, size in enumerate(SIZES)
    ]


SAMPLES = [Sample(f"s{k}") for k in range(8)]
PARTS = Parts(np.array([1, 0, 7]), np.array([2, 3, 4, 5]), np.array([6]))


def build(samples: list[Sample] = SAMPLES, classes: tuple[str, ...] = ("a", "b"), **serving: Any) -> Splits:
    return assemble(samples, pairs(), PARTS, Serving(**serving), classes)


def test_what_is_judged_is_ordered_by_size_and_keeps_its_name() -> None:
    splits = build()
    val: Any = splits.val
    assert val.sizes == [(4, 4), (6, 9), (8, 8), (8, 8)] and val.names == ["s3", "s4", "s2", "s5"]
    for index, name in enumerate(val.names):
        assert np.array_equal(val[index][1][0].numpy(), pairs()[int(name[1:])][1])
    test: Any = splits.test
    assert test.names == ["s6"]


def test_the_statistics_are_those_of_the_training_set_before_it_is_changed() -> None:
    pixels = np.concatenate([pairs()[index][0].ravel() for index in (1, 0, 7)]) / 255
    for transforms in ([], [A.InvertImg(p=1.0)]):
        facts = build(transforms=transforms, val_transforms=[A.InvertImg(p=1.0)]).facts
        assert facts["mean"] == [pytest.approx(pixels.mean())]
        assert facts["std"] == [pytest.approx(pixels.std())]
    val: Any = build().val
    image = (pairs()[3][0][..., 0] / 255 - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(val[0][0][0].numpy(), image, atol=1e-5)


@pytest.mark.parametrize("mode", ["train", "image", "none"])
def test_facts_are_plain_data(mode: str) -> None:
    facts = build(normalise=mode, patches=Patches(4, 2)).facts
    assert json.loads(json.dumps(facts)) == facts
    assert facts["normalise"] == mode and ("mean" in facts) == (mode == "train")
    assert (facts["in_channels"], facts["classes"]) == (1, ["a", "b"])
    assert facts["counts"] == {"train": 3, "val": 4, "test": 1}
    assert facts["split"] == {"train": ["s1", "s0", "s7"], "val": ["s2", "s3", "s4", "s5"], "test": ["s6"]}


def test_training_images_without_objects_are_named() -> None:
    given = pairs()
    given[0][1][:] = 0
    given[7][1][:] = IGNORE_INDEX
    given[2][1][:] = 0
    assert assemble(SAMPLES, given, PARTS, Serving(), ("background", "b")).facts["without_objects"] == [
        "s0",
        "s7",
    ]
    assert "without_objects" not in build().facts


def test_how_the_train_set_is_served() -> None:
    assert not hasattr(build().train, "sample") and hasattr(build(transforms=[A.D4()]).train, "sample")
    train = build(patches={"size": 4, "per_image": 5}).train
    assert isinstance(train, PatchPairs) and len(train) == 15
    val: Any = build(patches=Patches(4)).val
    assert val.sizes[0] == (4, 4) and len(val) == 4


def test_sequences_that_training_has_not_seen_are_minus_one() -> None:
    sequences = ["b", "a", "c", "a", "b", "d", "a", "b"]
    samples = [Sample(f"s{k}", sequence=name) for k, name in enumerate(sequences)]
    splits = build(samples)
    assert splits.facts["sequences"] == {"a": 0, "b": 1}
    train: Any = splits.train
    val: Any = splits.val
    assert [train[k][1].item() for k in range(3)] == [0, 1, 1]
    assert {name: val[k][1].item() for k, name in enumerate(val.names)} == {
        "s2": -1,
        "s3": 0,
        "s4": 1,
        "s5": -1,
    }


def test_groups_and_splits_of_the_samples_decide() -> None:
    grouped = [Sample(str(k), group=str(k // 2)) for k in range(8)]
    parts = divide(grouped, Cut(0.25, 0.25))
    assert [len({index // 2 for index in part}) for part in parts] == [2, 1, 1]
    named = [Sample(str(k), split="val" if k < 2 else "train") for k in range(8)]
    assert divide(named, Cut()).val.tolist() == [0, 1]


@pytest.mark.parametrize(
    "step",
    [A.Normalize(), A.OneOf([A.HorizontalFlip(), A.Normalize()]), A.Compose([A.Sequential([A.Normalize()])])],
)
@pytest.mark.parametrize("name", ["transforms", "val_transforms"])
def test_normalising_twice_is_refused(name: str, step: Any) -> None:
    message = f"{name} has a Normalize, and normalise: train does that again"
    with pytest.raises(ValueError, match=message):
        Serving(**{name: [A.HorizontalFlip(), step]})  # type: ignore[arg-type]
    Serving(normalise="none", **{name: [step]})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("serving", "message"),
    [
        ({"patches": {"sise": 4}}, r"patches: .*unexpected keyword argument 'sise'"),
        ({"patches": {"size": 0}}, "size must be at least 1, found 0"),
        ({"normalise": "yes"}, "normalise must be train, image or none"),
    ],
)
def test_arguments_that_do_not_fit(serving: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Serving(**serving)
