"""That a planted secret is found wherever it stands, and that those which are planted differ."""

import random

import pytest

from selftest.secrets import plant, search


def test_each_has_a_core_of_its_own_that_stands_in_its_text() -> None:
    secrets = plant(random.Random(22))
    assert len({secret.core for secret in secrets}) == len({secret.what for secret in secrets}) == 30
    assert all(secret.core in str(secret.text) for secret in secrets)


@pytest.mark.parametrize("index", range(30))
def test_what_is_written_somewhere_is_found(index: int) -> None:
    secret = plant(random.Random(22))[index]
    files = [("a.txt", b"nothing"), ("b.bin", b"\0\xff" + secret.core.encode() + b"\0")]
    (line,) = search([secret], files)
    assert line.startswith(f"b.bin: nothing of '{secret.what}' expected, found it after ")
