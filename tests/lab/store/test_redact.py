from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.store import redact as redacting
from lab.store.redact import (
    command_line_has_secret,
    hidden,
    learn,
    redact,
    redact_arguments,
    redact_source,
    redact_text,
    restored,
)


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
@pytest.mark.parametrize("end", ["", "!"])
@pytest.mark.parametrize(
    "piece", ["a", "aA1.", "?a-", "key=", "https://", "key=a1 ", "&a", "a:/", '"key": "', "=a"]
)
def test_long_lines_take_no_longer_than_short_ones(piece: str, end: str) -> None:
    text = piece * (1_000_000 // len(piece)) + end
    assert redact_text(text) == text  # quadratic work would take hours
    redact_source(text)


def test_a_secret_behind_a_long_text_is_hidden() -> None:
    text = "key=" * 250_000 + "! api_key='a1b2c3d4e5' token=a1b2c3d4e5"
    assert redact_text(text).endswith("key=! api_key='***' token=***")


@pytest.fixture
def forgetting() -> Iterator[None]:
    """What is learnt is forgotten after the test."""
    before = set(redacting._learned)
    yield
    redacting._learned.clear()
    redacting._learned.update(before)
    redacting._literals.cache_clear()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("got 401 with Authorization: Bearer abcdef123456", "got 401 with Authorization: Bearer ***"),
        ("connect(user='me', password='open sesame')", "connect(user='me', password='***')"),
        ("{'api_key': 'abc12345'}", "{'api_key': '***'}"),
        ("DB_PASSWORD=abcdef12 DEBUG=1", "DB_PASSWORD=*** DEBUG=1"),
        ("hf_abcdefghijklmnopqrstuvwx", "***"),
        ("AKIAABCDEFGHIJKLMNOP and xoxb-1234567890ab", "*** and ***"),
        ("eyJabcdefgh1.eyJabcdefgh2.abcdefgh3", "***"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----\nmore",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nmore",
        ),
        ("-----BEGIN PRIVATE KEY-----\\nabc", "-----BEGIN PRIVATE KEY-----***"),
        ("KeyError: 'abcdef12'", "KeyError: 'abcdef12'"),
        ("unknown key: 'epohcs'; token: the last", "unknown key: 'epohcs'; token: the last"),
        ("tokens=512, key=len, lr=1e-3", "tokens=512, key=len, lr=1e-3"),
    ],
)
def test_secrets_in_prose(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({"image_key": "image"}, True),
        ({"pad_token": "[PAD]"}, True),
        ({"key": "train.images"}, True),
        ({"token": "hunter2"}, False),
        ({"hf_token": "abc"}, False),
        ({"private_key": "abc"}, False),
        ({"key": "a very long text of words only"}, False),
    ],
)
def test_words_under_a_weak_name_are_settings(config: dict[str, Any], kept: bool) -> None:
    assert (redact(config) == config) is kept


@pytest.mark.usefixtures("forgetting")
def test_what_was_learnt_is_hidden_wherever_it_turns_up() -> None:
    learn({"data": {"password": 'p"ss/w0rd', "credentials": {"user": ["someone else"]}, "lr": "0.1"}})
    assert redact_text('reached p"ss/w0rd, p\\"ss/w0rd and p%22ss%2Fw0rd') == "reached ***, *** and ***"
    assert redact_text("user someone else") == "user ***"
    assert redact({"note": 'p"ss/w0rd!'}) == {"note": "***!"}
    assert redact_text("lr 0.1") == "lr 0.1"


@pytest.mark.usefixtures("forgetting")
def test_secrets_of_the_environment_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "abcd1234efgh")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:s3same-open@host/db")
    monkeypatch.setenv("SSH_KEY_FILE", "/home/me/keys1/id")
    monkeypatch.setenv("SHORT_PASSWORD", "abc")
    learn({})
    assert redact_text("abcd1234efgh s3same-open /home/me/keys1/id abc") == "*** *** /home/me/keys1/id abc"


def test_hidden_values_are_found_and_restored() -> None:
    config = {"data": {"token": "***", "urls": ["x", "https://me:***@h"]}, "n": 3}
    assert list(hidden(config)) == [("data", "token"), ("data", "urls", "1")]
    source = {"data": {"token": "hunter2", "urls": ["y", "https://me:pw@h"]}, "n": 4}
    assert restored(config, source) == {
        "data": {"token": "hunter2", "urls": ["x", "https://me:pw@h"]},
        "n": 3,
    }
    assert restored(config, {"data": {}}) == config


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("storage", "postgresql+psycopg://u:pa/ss9+word=@h/db", "postgresql+psycopg://u:***@h/db"),
        ("where", "http://localhost:8080/a@b", "http://localhost:8080/a@b"),
        ("dbpassword", "x1", "***"),
        ("PGPASSWORD", "hunter2", "***"),
        ("token_mixer", "pool2d", "pool2d"),
        ("key_column", "case_id_3d", "case_id_3d"),
        ("image_key", "image_0", "image_0"),
        ("keys", ["image", "mask"], ["image", "mask"]),
        ("token", "hunter2", "***"),
        ("token_of", "a1b2c3d4e5f6a7b8", "***"),
    ],
)
def test_a_setting_is_told_from_a_secret(name: str, value: object, shown: object) -> None:
    assert redact({name: value}) == {name: shown}


def test_a_password_that_is_a_word_hides_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    monkeypatch.setenv("PGPASSWORD", "hunter2hunter2")
    learn({})
    assert redact_text("postgresql://h/postgres in training") == "postgresql://h/postgres in training"
    assert redact_text("it was hunter2hunter2") == "it was ***"
