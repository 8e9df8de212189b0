import pytest

from lab.data.file_problems import raise_all


def test_nothing_wrong_raises_nothing() -> None:
    raise_all([], "the folder")


def test_all_are_in_one_error_with_their_number_and_the_advice() -> None:
    with pytest.raises(ValueError) as error:
        raise_all(["a: gone", "b: cut"], "the folder", "correct it")
    assert str(error.value) == "2 problems with the folder: correct it\n  a: gone\n  b: cut"
    with pytest.raises(ValueError, match=r"^1 problem with the folder\n  a$"):
        raise_all(["a"], "the folder")


def test_many_are_counted_and_not_all_shown() -> None:
    with pytest.raises(ValueError, match=r"^50 problems[\s\S]*\n  19\n  … and 30 more$"):
        raise_all([str(number) for number in range(50)], "the folder")
