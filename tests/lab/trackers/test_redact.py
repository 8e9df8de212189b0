from typing import Any

import pytest

from lab.trackers.redact import command_line_has_secret, redact, redact_text


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"api_key": "abc"}, {"api_key": "***"}),
        ({"apiKey": "abc", "API-KEY": "abc"}, {"apiKey": "***", "API-KEY": "***"}),
        ({"APIKey": "abc", "apikey": b"abc"}, {"APIKey": "***", "apikey": "***"}),
        ({"data": {"hf_token": "abc", "root": "x"}}, {"data": {"hf_token": "***", "root": "x"}}),
        ({"list": [{"password": 1234}]}, {"list": [{"password": "***"}]}),
        ({"secrets": {"a": "b", "c": ["d", None]}}, {"secrets": {"a": "***", "c": ["***", None]}}),
        ({"max_tokens": 512, "key": 3, "token": True}, {"max_tokens": 512, "key": 3, "token": True}),
        ({"monkey": "abc", "tokenizer": "bert"}, {"monkey": "abc", "tokenizer": "bert"}),
        ({"password": "", "token": None}, {"password": "", "token": None}),
        ({"url": "postgresql://me:pw@host/db"}, {"url": "postgresql://me:***@host/db"}),
        ({"urls": ("https://host/x?token=abc&y=1",)}, {"urls": ["https://host/x?token=***&y=1"]}),
        ({"lr": 0.1, "n": 3, "flag": False}, {"lr": 0.1, "n": 3, "flag": False}),
    ],
)
def test_redact(config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert redact(config) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("can't reach redis://:pw@h:1/0, sorry", "can't reach redis://:***@h:1/0, sorry"),
        ("http://h/a?X-Amz-Signature=s3cr3t#frag", "http://h/a?X-Amz-Signature=***#frag"),
        ("https://user@host/path", "https://user@host/path"),
        ("a: b@c", "a: b@c"),
        ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/x"),
    ],
)
def test_redact_text(text: str, expected: str) -> None:
    assert redact_text(text) == expected


def test_the_config_itself_is_left_alone() -> None:
    config = {"a": {"token": "abc"}}
    redact(config)
    assert config == {"a": {"token": "abc"}}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--run", "configs/run.yaml", "--set", "optimizer.lr=1e-3"], False),
        (["--set", "data.api_token=abc"], True),
        (["--set", "storage=postgresql://me:pw@host/db"], True),
        ([], False),
    ],
)
def test_command_line_has_secret(arguments: list[str], expected: bool) -> None:
    assert command_line_has_secret(arguments) is expected
