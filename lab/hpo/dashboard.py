"""`--dashboard`: the studies of a database and their reports in a browser, for whoever may see them.

One server shows optuna-dashboard and, under `/studies/`, the reports. It changes nothing: the database is
opened for reading, and of HTTP only GET and HEAD are answered. It listens on loopback; elsewhere only with a
token that every request has to bring. A page of another site can reach a server on loopback through the
browser of whoever visits it, by a name of its own that it points there (DNS rebinding): so the name by which
the server is called is checked as well.
"""

import hmac
import ipaddress
import logging
import os
import secrets
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlencode
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from lab.config import config_file
from lab.config.optimize_config import OptimizeConfig
from lab.console import shell_commands
from lab.report.static_files import Shelf
from lab.store.paths import shown, url_expanded

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

TOKEN = "LAB_DASHBOARD_TOKEN"
SHORTEST = 16  # characters of a token
_NAMES = ("localhost", "127.0.0.1", "::1")
_PATIENCE = 30.0  # seconds that a client may take to say what it wants
_OFTEN = 60.0  # seconds between two complaints of a database that is away
_HEADERS = [
    ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
]  # fmt: skip
_UNSTORED = ("Cache-Control", "no-store")
# A page of a study: it may draw, and run its own few lines of script, and ask nobody for anything.
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_PAGE = [("Content-Security-Policy", _POLICY), ("Cache-Control", "no-cache")]
# A file may have been written by a stranger: it gets an origin of its own, and reads no other page.
_FILE = [("Content-Security-Policy", f"{_POLICY}; sandbox allow-scripts"), ("Cache-Control", "no-cache")]

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


def serve(  # optuna is imported where it is used: who is refused needn't wait for it
    source: str,
    studies: Path,
    host: str = "127.0.0.1",
    port: int = 8080,
    token: str | None = None,
    on_message: Callable[[str], None] = print,
) -> None:
    """Serve until somebody ends it.

    Args:
        source: a database's URL, or a study's file, folder or name, which name the database.
        studies: the studies' folder, whose reports are shown.
        port: 0 for any that is free.
        token: what a visitor must know, by default LAB_DASHBOARD_TOKEN; needed on all addresses but loopback.

    Raises:
        ConfigError: the study's file can't be read.
        ValueError: the database can't be read; or the address is open to others, and there is no token; or it
            can't be had.
    """
    token = token or os.environ.get(TOKEN)
    address = _address(host, port)
    refuse_open_door(host, address[0], token, port)
    from lab.hpo.storage import shown_url

    url = database_url(source, studies)
    app = Door(
        _pages(open_to_read(url), Shelf(studies)), token, on_loopback(address[0]), (*_NAMES, address[0])
    )
    with _listen(address, host, app) as server:
        shown = f"[{host}]" if ":" in host else host
        on_message(f"Dashboard of {shown_url(url)}: http://{shown}:{server.server_port}/; Ctrl-C ends it")
        on_message(f"Reports of {studies}: http://{shown}:{server.server_port}/studies/")
        if token:
            on_message("Open it with ?token=TOKEN at the end of the address; the browser keeps it.")
        if not on_loopback(address[0]):
            on_message("Other machines reach it, and what they are sent is not encrypted.")
        sys.stdout.flush()
        server.serve_forever(poll_interval=0.2)


def refuse_open_door(host: str, address: str, token: str | None, port: int) -> None:
    """A server that others can reach must ask for a token, and for one that can't be guessed.

    Raises:
        ValueError: it would be open.
    """
    if token is not None and len(token) < SHORTEST:
        raise ValueError(f"--token: has {len(token)} characters, at least {SHORTEST} are needed")
    if token is None and not on_loopback(address):
        raise ValueError(
            f"--host {host}: other machines can reach this address; give --token TOKEN, of {SHORTEST} "
            "characters or more, or stay on 127.0.0.1 and come through a tunnel: "
            f"{shell_commands.tunnel(port)}"
        )


def on_loopback(address: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def database_url(source: str, studies: Path) -> str:
    """The database that is meant: its URL, or that of a study by its file, its folder or its name.

    Raises:
        ConfigError: the study's file can't be read.
        ValueError: there is no such study.
    """
    if "://" in source:
        return source
    for path in (Path(source), Path(source) / "study.yaml", studies / source / "study.yaml"):
        if path.is_file():
            from lab.hpo.storage import without_hidden

            url = config_file.read(path).data.get("storage", OptimizeConfig.defaults()["storage"])
            return without_hidden(str(url))
    from lab.hpo.storage import without_folder

    gone = without_folder(source, OptimizeConfig.defaults()["storage"])
    raise ValueError(f"{source}: is neither the URL of a database nor a study of {studies}{gone}")


def open_to_read(url: str) -> "RDBStorage":
    """The database, for reading only: it is not made, and no table in it either.

    Raises:
        ValueError: it is not there, holds no studies, or can't be reached.
    """
    import optuna
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from lab.hpo.storage import database_file, shown_url

    options: dict[str, Any] = {"pool_pre_ping": True, "execution_options": {"postgresql_readonly": True}}
    try:
        file = database_file(url)
        if file is not None:
            if not file.is_file():
                raise ValueError(f"there is no database {shown(file)}")
            place = f"file:{quote(str(file))}?mode=ro"
            options = {
                "creator": lambda: sqlite3.connect(place, uri=True, timeout=60, check_same_thread=False)
            }
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.RDBStorage(
            url_expanded(url), engine_kwargs=options, skip_table_creation=True
        )
        storage.get_all_studies()
    except (OSError, DBAPIError, ArgumentError, StorageInternalError, ImportError, RuntimeError) as error:
        cause = error.__cause__ or error
        reason = str(getattr(cause, "orig", None) or cause).strip().splitlines()[0]
        raise ValueError(f"{shown_url(url)}: can't be read: {reason}") from error
    return storage


class Door:
    """Lets in whom the server is for, and asks what is inside for them.

    Args:
        inside: what they come for.
        local: whether it stands on loopback, where it is called by few names.
        names: those.
    """

    def __init__(self, inside: App, token: str | None, local: bool, names: tuple[str, ...] = _NAMES) -> None:
        self._inside, self._token, self._local, self._names = inside, token, local, names
        self._pass = secrets.token_urlsafe(32)  # what a browser keeps: it is worth nothing after the end

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        """Answer one request."""

        def guarded(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start(status, [*headers, *_HEADERS], *rest)

        if self._local and _host_of(environ.get("HTTP_HOST", "")) not in self._names:
            return answer(guarded, "403 Forbidden", b"This server is not called by that name.", _UNSTORED)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            headers = (_UNSTORED, ("Allow", "GET, HEAD"))
            return answer(guarded, "405 Method Not Allowed", b"Nothing is changed here.", *headers)
        query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        if self._token is not None:
            if len(query.get("token", ())) == 1 and _same(query["token"][0], self._token):
                return self._welcome(environ, query, guarded)
            if not self._known(environ):
                headers = (_UNSTORED, ("WWW-Authenticate", "Bearer"))
                return answer(guarded, "401 Unauthorized", b"Open it with ?token=TOKEN.", *headers)
        environ.pop("HTTP_COOKIE", None)
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # optuna-dashboard takes it for granted
        return self._inside(environ, guarded)

    def _welcome(
        self, environ: Mapping[str, Any], query: Mapping[str, list[str]], start: Start
    ) -> Iterable[bytes]:
        """The token was right: from now on a cookie stands for it, and the address bar doesn't show it."""
        rest = urlencode({name: values for name, values in query.items() if name != "token"}, doseq=True)
        path = "/" + quote(environ.get("PATH_INFO", "/").encode("latin-1").lstrip(b"/"))
        cookie = f"{self._cookie(environ)}={self._pass}; Path=/; HttpOnly; SameSite=Strict"
        headers = (("Location", f"{path}?{rest}" if rest else path), ("Set-Cookie", cookie))
        return answer(start, "303 See Other", b"", _UNSTORED, *headers)

    def _known(self, environ: Mapping[str, Any]) -> bool:
        scheme, _, given = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and self._token is not None and _same(given.strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(self._cookie(environ))
        except CookieError:
            return False
        return cookie is not None and _same(cookie.value, self._pass)

    def _cookie(self, environ: Mapping[str, Any]) -> str:
        return f"lab_{environ['SERVER_PORT']}"  # a browser distinguishes two servers of one machine by it


def answer(
    start: Start, status: str, body: bytes, *headers: tuple[str, str], kind: str = "text/plain"
) -> list[bytes]:
    """Answer a request with a whole page, or a short text."""
    content = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
    start(status, [("Content-Type", content), ("Content-Length", str(len(body))), *headers])
    return [body]


class Complaints(logging.Handler):
    """A line where a page can't be had, as of a database that is away; the browser knows it by the status.

    optuna-dashboard writes a page of its own code's lines for each, and a page asks again every few seconds.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._due = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Print it, unless another has just been."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _OFTEN
            reason = record.getMessage().removeprefix("Exception: ").partition("\n")[0]
            print(f"dashboard: {reason}", file=sys.stderr, flush=True)


def _pages(storage: "RDBStorage", shelf: Shelf) -> App:
    from optuna_dashboard import wsgi

    log = logging.getLogger("optuna_dashboard")
    log.handlers, log.propagate = [Complaints()], False
    dashboard: App = wsgi(storage)

    def pages(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/").encode("latin-1").decode("utf-8", "replace")
        if path != "/studies" and not path.startswith("/studies/"):
            return dashboard(environ, start)
        found = shelf.find(path.removeprefix("/studies"))
        if found is None:
            return answer(start, "404 Not Found", b"There is no such page.\n", *_PAGE)
        headers = _PAGE if found.generated else _FILE
        return answer(start, "200 OK", found.content, *headers, kind=found.kind)

    return pages


def _host_of(header: str) -> str:
    """`localhost` of `localhost:8080`, `::1` of `[::1]:8080`."""
    name = header.strip().lower()
    return name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(
        given.encode("utf-8", "surrogateescape"), wanted.encode("utf-8", "surrogateescape")
    )


def _address(host: str, port: int) -> tuple[str, int]:
    """The one address that a host's name stands for, here.

    Raises:
        ValueError: there is none.
    """
    try:
        if not 0 <= port < 2**16:
            raise OverflowError("a port is a number from 0 to 65535")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"--host {host} --port {port}: {reason}") from error
    return str(found[0][4][0]), int(found[0][4][1])


def _listen(address: tuple[str, int], host: str, app: App) -> "_Server":
    try:
        server = _Server(address)
    except OSError as error:
        raise ValueError(f"--host {host} --port {address[1]}: {error.strerror or error}") from error
    server.set_app(app)
    return server


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each visitor; one that sends nothing is disconnected."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Visit)

    def server_bind(self) -> None:
        """Without looking up the machine's name, which takes long where nobody knows it."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor who goes away in the middle is no news."""


class _Visit(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *arguments: Any) -> None:
        """Be silent: an address may hold the token."""
