import pytest

from lab.data.split_names import Part, is_filler, part_names, part_of


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train", "train"),
        ("TRAIN", "train"),
        ("Training", "train"),
        ("train_set", "train"),
        ("TrainSet", "train"),
        ("trainingset", "train"),
        ("train2017", "train"),
        ("train-images", "train"),
        ("trainval", "train"),
        ("train_val", "train"),
        ("01_train", "train"),
        ("valid", "val"),
        ("Validation Set", "val"),
        ("dev", "val"),
        ("val_split", "val"),
        ("Testing", "test"),
        ("test1", "test"),
        ("testdata", "test"),
        ("ｔｅｓｔ", "test"),
        ("eval", None),
        ("trains", None),
        ("contest", None),
        ("test_val", None),
        ("bullet train", None),
        ("", None),
        ("2017", None),
    ],
)
def test_names_that_mean_parts_by_themselves(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_further_words_must_be_shared() -> None:
    assert part_names(["seg_train", "seg_test", "seg_pred"]).parts == {
        "seg_train": "train",
        "seg_test": "test",
    }
    assert part_names(["bullet_train", "bus"]).parts == {}
    assert part_names(["steam_train", "drug_test"]).parts == {}
    assert part_names(["cats_test", "cats_val"]).parts == {}  # no training data that they could belong to


def test_ordinary_words_need_a_training_set_beside_them() -> None:
    assert part_names(["valid", "invalid"]).parts == {}
    assert part_names(["valid", "training"]).parts == {"valid": Part.VAL, "training": Part.TRAIN}
    assert part_names(["Testing", "cat"]).parts == {"Testing": "test"}
    assert part_names(["eval", "cat"]).unclear == ()
    assert part_names(["eval", "train"]).unclear == ("eval",)
    assert part_names(["x_eval", "x_train"]).unclear == ("x_eval",)


def test_names_that_say_nothing() -> None:
    assert all(map(is_filler, ["images", "Image_Data", "dataset"]))
    assert not any(map(is_filler, ["", "cat", "train"]))
