"""Connections to PostgreSQL that break before a COMMIT, or before its answer."""

import itertools
import math
import socket
import threading
from contextlib import suppress
from types import TracebackType

from sqlalchemy.engine import make_url

from lab.hpo.trial_folder import read_trial
from lab.report.trial_attributes import TrialAttributes
from selftest.audit import Audit, Found
from selftest.bench import Bench, until
from selftest.postgres import HINT
from selftest.studies import small_study, trial_folder, write_file
from selftest.verdict import Tally, Verdict, judge_command

_COMMIT = b"Q\0\0\0\x0bCOMMIT\0"  # a message of PostgreSQL's protocol: kind, length, text
_EVERY = 5  # every n-th COMMIT breaks, so that what is tried again succeeds soon
_BREAKS_PER_TRIAL = 1.5
_LONGEST = 600.0  # seconds for the study


class Proxy:
    """Forwards connections to a server, and breaks some at a COMMIT, by turns before it and after it.

    Args:
        url: of a database on the server.
        count: connections to break, once `breaking` is set.
    """

    def __init__(self, url: str, count: int) -> None:
        self._target, self._count = make_url(url), count
        self._commits = itertools.count(1)
        self.breaking = threading.Event()
        self.before = self.after = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        """The URL of the database through the proxy."""
        port = self._listener.getsockname()[1]
        return self._target.set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = self._connected()
                for pump in (self._requests, self._answers):
                    threading.Thread(target=pump, args=(client, server), daemon=True).start()

    def _connected(self) -> socket.socket:
        host = str(self._target.query.get("host") or self._target.host or "127.0.0.1")
        port = self._target.port or 5432
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if self.breaking.is_set() and _COMMIT in data and self._is_due():
                    self._break(client, server, data)
                    return
                server.sendall(data)
        _close(client, server)

    def _is_due(self) -> bool:
        return next(self._commits) % _EVERY == 0 and self.before + self.after < self._count

    def _break(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        if self.before > self.after:
            # The server's answer is awaited, so that the transaction is committed, and goes nowhere.
            self.after += 1
            client.shutdown(socket.SHUT_WR)
            server.sendall(data)
        else:
            self.before += 1
            _close(client, server)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()


def broken_commits(bench: Bench, count: int) -> Verdict:
    """Break `count` connections of two commands that share a study, half of them before the COMMIT."""
    tally = Tally({"broken before": 0, "broken after": 0, "trials": 0, "crashes": 0, **Found().counted()})
    server = bench.postgres()
    if server is None:
        tally.untried.append(HINT)
        return tally.verdict()
    direct, folder = server.new_database(), bench.folder("commits")
    trials = 4 + math.ceil(count / _BREAKS_PER_TRIAL)
    with Proxy(direct, count) as proxy:
        options = {"isolation": "process", "workers": 1, "run__epochs": 6}
        audit = Audit(small_study(direct, trials, **options), folder)
        path = write_file(folder, small_study(proxy.url, trials, **options))
        running = [bench.start(folder, "--optimize", str(path)) for _ in range(2)]
        until(lambda: any(t.intermediate_values for t in audit.trials()), _LONGEST)
        proxy.breaking.set()
        crashes = [line for command in running for line in judge_command(command.done(_LONGEST), (0,))]
    tally.add("broken before", proxy.before)
    tally.add("broken after", proxy.after)
    tally.add("trials", trials)
    tally.add("crashes", len(crashes))
    tally.take("a command", crashes)
    tally.take("the study", audit.judge())
    tally.take("a trial's folder", _other_records(audit))
    tally.at_least(count, proxy.before + proxy.after, "broken connections")
    audit.close()
    return tally.verdict()


def _other_records(audit: Audit) -> list[str]:
    """The trials whose own folder has another outcome than the database."""
    found = []
    for trial in audit.trials():
        recorded = read_trial(trial_folder(audit.folder, trial.number)).get("outcome")
        stored = TrialAttributes.of(trial).outcome
        if recorded != stored:
            found.append(f"trial {trial.number} is {recorded}, and {stored} in the database")
    return found
