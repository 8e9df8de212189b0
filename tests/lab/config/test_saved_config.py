"""A config as it is kept: without its secrets, and what whoever needs them again has to do."""

import pytest

from lab.config import config_file
from lab.config.problems import ConfigError
from lab.config.saved_config import as_written, require_secrets, written
from lab.store.redact import redact


def test_nothing_to_hide_is_written_as_it_is() -> None:
    assert written({"a": {"image_key": "image"}, "b": [1, 2]}) == "a:\n  image_key: image\nb: [1, 2]\n"


def test_secrets_are_hidden_and_the_way_back_is_said() -> None:
    text = written({"data": {"token": "hunter22", "n": 3}})
    assert "hunter22" not in text and text.startswith("# *** replaces a secret")
    with pytest.raises(ConfigError) as refused:
        require_secrets({"data": {"token": "***", "urls": ["https://me:***@host/x"]}, "n": 3})
    assert [str(problem) for problem in refused.value.problems] == [
        "data.token: is a secret that is not stored; provide it: --set data.token=VALUE",
        "data.urls.0: is a secret that is not stored; provide it: --set data.urls.0=VALUE",
    ]
    require_secrets({"data": {"token": "hunter22"}})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("# why\nname: a  # here\nepochs: 3\n", None),
        ("name: a\ndata: {target: m.f, token: abc123def456}\n", "data: {target: m.f, token: ***}"),
        ("name: a\ndata:\n  target: m.f\n  token: abc123def456 # mine\n", "  token: '***' # mine\n"),
        ("name: a\nstorage: postgresql://me:hunter2@host/db\n", "storage: postgresql://me:***@host/db\n"),
        ("# api_key = 'abc123'\nname: a\n", "# api_key = '***'\nname: a\n"),
        ("name: a\npassword: word\n", "password: '***'\n"),
        ("name: a\npassword: 1234\n", "password: '***'\n"),
        ("name: a\npassword: |\n  several\n  lines\n", "password: '***'\n"),
        ("name: a\nsecrets: [one, two]\n", "***"),
        ("name: &x hunter2\npassword: *x\n", "password: '***'\n"),
        ('name: a\npassword: "\\x68unter2"\n', 'password: "***"\n'),
    ],
)
def test_a_yaml_as_written_has_no_secrets(text: str, shown: str | None) -> None:
    text_of = as_written(text)
    if shown is None:
        assert text_of == text
        return
    assert "***" in text_of and (shown in text_of or "{" in shown)
    for secret in ("abc123", "password: hunter2", ": word", "1234", "several", "one, two", "\\x68"):
        assert secret not in text_of
    data = config_file.parse(text_of, "").data
    assert redact(data) == data and data["name"] in ("a", "hunter2")
