"""The dashboard's door: who is let in, under which name, and what is served to them."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.exceptions import StorageInternalError

from lab.hpo import dashboard
from lab.hpo.dashboard import (
    Complaints,
    Door,
    database_url,
    on_loopback,
    open_to_read,
    refuse_open_door,
    serve,
)
from lab.hpo.storage import Database
from lab.report.static_files import Shelf

TOKEN = "0123456789abcdef"


def inside(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"inside"]


def ask(
    door: Door, query: str = "", method: str = "GET", **headers: str
) -> tuple[str, dict[str, str], bytes]:
    environ: dict[str, Any] = {}
    setup_testing_defaults(environ)
    environ |= {"REQUEST_METHOD": method, "QUERY_STRING": query, "HTTP_HOST": "127.0.0.1:8080"}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    said: list[Any] = []
    body = b"".join(door(environ, lambda status, head: said.extend((status, head))))
    return said[0].partition(" ")[0], dict(said[1]), body


@pytest.mark.parametrize(
    ("token", "local", "query", "headers", "expected"),
    [
        (None, True, "", {}, "200"),
        (None, True, "", {"host": "localhost"}, "200"),
        (None, True, "", {"host": "[::1]:99"}, "200"),
        (None, True, "", {"host": "evil.example"}, "403"),
        (None, True, "", {"host": "localhost.evil.example"}, "403"),
        (None, True, "", {"host": ""}, "403"),
        (TOKEN, True, "", {}, "401"),
        (TOKEN, True, f"token={TOKEN}", {}, "303"),
        (TOKEN, True, f"token={TOKEN}", {"host": "evil.example"}, "403"),
        (TOKEN, False, f"token={TOKEN}", {"host": "machine.example"}, "303"),
        (TOKEN, False, "", {"host": "machine.example"}, "401"),
        (TOKEN, True, f"token={TOKEN}x", {}, "401"),
        (TOKEN, True, "token=", {}, "401"),
        (TOKEN, True, "token=%C3%BC", {}, "401"),
        (TOKEN, True, f"token={TOKEN}&token={TOKEN}", {}, "401"),
        (TOKEN, True, "", {"authorization": f"Bearer {TOKEN}"}, "200"),
        (TOKEN, True, "", {"authorization": f"Basic {TOKEN}"}, "401"),
        (TOKEN, True, "", {"cookie": f"lab_80={TOKEN}"}, "401"),
        (TOKEN, True, "", {"cookie": "\x01;=;"}, "401"),
    ],
)
def test_who_is_let_in(
    token: str | None, local: bool, query: str, headers: dict[str, str], expected: str
) -> None:
    status, _, body = ask(Door(inside, token, local), query, **headers)
    assert status == expected
    assert (body == b"inside") == (expected == "200")


def test_the_cookie_stands_for_the_token() -> None:
    door = Door(inside, TOKEN, local=False)
    _, headers, _ = ask(door, f"a=b&token={TOKEN}&c=%26")
    assert headers["Location"] == "/?a=b&c=%26"
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert attributes == ["Path=/", "HttpOnly", "SameSite=Strict"] and TOKEN not in cookie
    assert ask(door, cookie=cookie)[0] == "200"
    assert ask(Door(inside, TOKEN, local=False), cookie=cookie)[0] == "401", "another server's"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_is_changed(method: str) -> None:
    assert ask(Door(inside, None, local=True), method=method)[0] == "405"
    query = f"token={TOKEN}"
    assert ask(Door(inside, TOKEN, local=False), query, method=method)[0] == "405"


@pytest.mark.parametrize(
    ("address", "token", "refused"),
    [
        ("127.0.0.1", None, ""),
        ("::1", None, ""),
        ("127.0.0.1", "short", "--token: has 5 characters, at least 16 are needed"),
        ("0.0.0.0", None, "--host h: other machines can reach this address; give --token TOKEN"),
        ("192.168.0.7", None, "--host h: other machines can reach this address"),
        ("::", None, "--host h: other machines can reach this address"),
        ("fe80::1%eth0", None, "--host h: other machines can reach this address"),
        ("0.0.0.0", TOKEN[:-1], "--token: has 15 characters"),
        ("0.0.0.0", TOKEN, ""),
    ],
)
def test_an_open_door_is_refused(address: str, token: str | None, refused: str) -> None:
    if not refused:
        refuse_open_door("h", address, token, 8080)
        return
    with pytest.raises(ValueError) as caught:
        refuse_open_door("h", address, token, 8080)
    assert str(caught.value).startswith(refused)


def test_loopback_is_recognised() -> None:
    assert on_loopback("127.8.9.1") and on_loopback("::1") and not on_loopback("10.0.0.1")


def test_a_study_names_its_database(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "study.yaml").write_text("storage: sqlite:///there.db\n")
    (tmp_path / "opt.yaml").write_text("study_name: small\n")
    for source in ("small", str(folder), str(folder / "study.yaml")):
        assert database_url(source, tmp_path) == "sqlite:///there.db"
    assert database_url("postgresql://h/x", tmp_path) == "postgresql://h/x"
    assert database_url(str(tmp_path / "opt.yaml"), tmp_path) == "sqlite:///studies.db"
    with pytest.raises(ValueError, match="is neither the URL of a database nor a study of"):
        database_url("large", tmp_path)


def test_the_database_is_read_and_not_made(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a b?c.db'}"
    with pytest.raises(ValueError, match="there is no database"):
        open_to_read(url)
    assert list(tmp_path.iterdir()) == []
    optuna.create_study(storage=Database(url).storage, study_name="small")
    storage = open_to_read(url)
    (study,) = storage.get_all_studies()
    assert study.study_name == "small"
    with pytest.raises(StorageInternalError):
        storage.delete_study(study._study_id)
    assert [each.study_name for each in open_to_read(url).get_all_studies()] == ["small"]


@pytest.mark.parametrize("content", [b"", b"no database at all, by any means" * 40])
def test_what_is_no_database_of_studies_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(ValueError, match="can't be read: "):
        open_to_read(f"sqlite:///{tmp_path / 'x.db'}")
    assert (tmp_path / "x.db").read_bytes() == content


@pytest.mark.parametrize(("host", "port"), [("no.such.invalid", 0), ("127.0.0.1", -1), ("a" * 70, 0)])
def test_an_address_that_cant_be_had_is_said(tmp_path: Path, host: str, port: int) -> None:
    with pytest.raises(ValueError, match=r"^--host "):
        serve("sqlite:///x.db", tmp_path, host, port)


def test_a_database_that_is_away_is_told_in_one_line_and_not_each_time(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.Logger("optuna_dashboard")
    log.addHandler(Complaints())
    now = 1000.0
    monkeypatch.setattr("lab.hpo.dashboard.time.monotonic", lambda: now)
    for _ in range(3):
        log.error('Exception: (OperationalError) the server is gone\n  File "storage.py", line 1\n')
        now += 10.0
    assert capsys.readouterr().err == "dashboard: (OperationalError) the server is gone\n"
    now += 60.0
    log.error("still")
    assert capsys.readouterr().err == "dashboard: still\n"


def test_a_file_of_a_study_has_an_origin_of_its_own(tmp_path: Path) -> None:
    """A report may be a stranger's; the lists of files, whose links need the cookie, are ours."""
    url, folder = f"sqlite:///{tmp_path / 'studies.db'}", tmp_path / "studies" / "small"
    optuna.create_study(storage=Database(url).storage, study_name="small")
    (folder / "best").mkdir(parents=True)
    (folder / "report.html").write_text("<script>fetch('/api/studies')</script>")
    (folder / "best" / "page.html").write_text("<p>")
    app, policies = dashboard._pages(dashboard.open_to_read(url), Shelf(tmp_path / "studies")), {}
    for path in ("small/report.html", "small/best/page.html", "", "small/"):

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> None:
            policies[path] = (status, dict(headers)["Content-Security-Policy"])  # noqa: B023 - called at once

        list(app({"PATH_INFO": f"/studies/{path}", "REQUEST_METHOD": "GET"}, start))
    assert {status for status, _ in policies.values()} == {"200 OK"}
    sandboxed = {path for path, (_, policy) in policies.items() if policy.endswith("; sandbox allow-scripts")}
    assert sandboxed == {"small/report.html", "small/best/page.html"}
