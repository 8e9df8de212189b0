"""A config as it is kept: without its secrets, and what whoever needs them again has to do."""

import pytest

from lab.config.problems import ConfigError
from lab.record import require_secrets, written


def test_nothing_to_hide_is_written_as_it_is() -> None:
    assert written({"a": {"image_key": "image"}, "b": [1, 2]}) == "a:\n  image_key: image\nb: [1, 2]\n"


def test_secrets_are_hidden_and_the_way_back_is_said() -> None:
    text = written({"data": {"token": "hunter22", "n": 3}})
    assert "hunter22" not in text and text.startswith("# *** stands for a secret")
    with pytest.raises(ConfigError) as refused:
        require_secrets({"data": {"token": "***", "urls": ["https://me:***@host/x"]}, "n": 3})
    assert [str(problem) for problem in refused.value.problems] == [
        "data.token: is a secret, which the record hides; give it: --set data.token=VALUE",
        "data.urls.0: is a secret, which the record hides; give it: --set data.urls.0=VALUE",
    ]
    require_secrets({"data": {"token": "hunter22"}})
