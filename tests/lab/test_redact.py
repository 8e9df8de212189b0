from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.redact import command_line_has_secret, redact, redact_arguments, redact_source, redact_text


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


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "trackers.0.api_key=abc"], ["--set", "trackers.0.api_key=***"]),
        (["WANDB_API_KEY=abc", "main.py"], ["WANDB_API_KEY=***", "main.py"]),
        (["--token", "abc", "--quiet"], ["--token", "***", "--quiet"]),
        (["--token", "--quiet"], ["--token", "--quiet"]),
        (["--hf-token=abc", "--password=1234"], ["--hf-token=***", "--password=***"]),
        (["--max-tokens", "512", "net.key=3"], ["--max-tokens", "512", "net.key=3"]),
        (
            ["optimizer.lr=1e-3", "tokenizer=bert", "monkey=x"],
            ["optimizer.lr=1e-3", "tokenizer=bert", "monkey=x"],
        ),
        (["storage=postgresql://me:pw@host/db"], ["storage=postgresql://me:***@host/db"]),
        (["trackers=[{api_key: 0123abcdef}]"], ["trackers=[{api_key: ***}]"]),
        (["--set", "a.token="], ["--set", "a.token="]),
    ],
)
def test_redact_arguments(arguments: list[str], expected: list[str]) -> None:
    assert redact_arguments(arguments) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('+API_KEY = "abc"', '+API_KEY = "***"'),
        ("-  password: 'x y z'", "-  password: '***'"),
        ('{"access_token": "abc", "lr": 1}', '{"access_token": "***", "lr": 1}'),
        ("export WANDB_API_KEY=0123456789abcdef", "export WANDB_API_KEY=***"),
        ("token: a1b2c3d4e5", "token: ***"),
        ("header = 'hf_" + 30 * "a" + "'", "header = '***'"),
        ("sorted(rows, key=len)", "sorted(rows, key=len)"),
        ("token = next(tokens)", "token = next(tokens)"),
        ("key=operator.itemgetter(1)", "key=operator.itemgetter(1)"),
        ("for key, value in x.items(): pass", "for key, value in x.items(): pass"),
        ("def f(key: str, token: int = 5): ...", "def f(key: str, token: int = 5): ..."),
        ("index 1234567..89abcde 100644", "index 1234567..89abcde 100644"),
    ],
)
def test_code_keeps_everything_but_literal_secrets(line: str, expected: str) -> None:
    assert redact_source(f"before\n{line}\nafter\n") == f"before\n{expected}\nafter\n"


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(
        lambda text: "'" not in text
    )
)
def test_no_quoted_password_survives(secret: str) -> None:
    assert redact_arguments([f"db.password={secret}"]) == ["db.password=***"]
    if secret.isprintable():
        assert redact_source(f"password = '{secret}'") == "password = '***'"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece", ["a", "aA1.", "?a-", "key=", "https://", "key=a1 ", "&a", "a:/", '"key": "']
)
def test_long_lines_take_no_longer_than_short_ones(piece: str) -> None:
    redact_source(piece * (300_000 // len(piece)))  # quadratic work would take minutes
