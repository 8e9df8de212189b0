"""Strangers who ask the servers that are started here: the dashboard, and whatever a run leaves listening."""

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from selftest.bench import Bench, Process, until
from selftest.sockets import Listening, exchange, family, listening, request, status
from selftest.studies import run_text
from selftest.verdict import Verdict, judge_command

TOKEN = "a-token-0f-the-b3nch"
MARK = b"planted-7391"  # in every file that nobody may see
_PATIENCE = 60.0  # seconds until a server answers
_FEW = 5  # lines of a dashboard whose database is away


@dataclass(frozen=True)
class Asked:
    """A request to a server, and what it may answer.

    Args:
        statuses: of the right answers; 0 for none at all.
        shows: what the right answer holds.
    """

    what: str
    data: bytes
    statuses: tuple[int, ...]
    shows: bytes = b""


def loopback(bench: Bench, count: int) -> Verdict:
    """A dashboard without a token and one with it, asked by `count` strangers; addresses; a run's sockets."""
    folder = bench.folder("servers")
    _plant(folder)
    database = (folder / "studies.db").read_bytes()
    broken: list[str] = []
    opened, guarded = dashboards(bench, folder, (), ("--token", TOKEN))
    run = bench.start(_run_folder(bench), "--run", "run.yaml")
    strangers = ([(opened, each) for each in STRANGERS] + [(guarded, each) for each in WITHOUT_TOKEN])[:count]
    friends = [(opened, each) for each in FRIENDS] + [(guarded, each) for each in WITH_TOKEN]
    # A friend again at the end: no stranger may have broken the server.
    for server, asked in [*friends, *strangers, *friends[:1]]:
        broken += judge_answer(asked, exchange(server.port, asked.data))
    broken += _with_cookie(guarded.port)
    seen = {server.name: listening(family(server.process.pid)) for server in (opened, guarded)}
    seen["a run with W&B"] = _watched(run)
    broken += [line for name, found in seen.items() for line in judge_sockets(name, found)]
    broken += _refusals(bench, folder)
    if (folder / "studies.db").read_bytes() != database:
        broken.append("the database: unchanged by readers expected, found changed")
    for server in (opened, guarded):
        broken += server.ended()
    return Verdict(
        {
            "strangers": len(strangers), "friends": len(friends) + 1, "addresses refused": len(REFUSED),
            "listening": sum(map(len, seen.values())), "wrong": len(broken),
        },
        broken,
    )  # fmt: skip


def judge_answer(asked: Asked, response: bytes) -> Iterator[str]:
    """Judge an answer."""
    if status(response) not in asked.statuses:
        wanted = " or ".join(map(str, asked.statuses))
        yield f"{asked.what}: {wanted} expected, found {status(response)}"
    if MARK in response:
        yield f"{asked.what}: showed what nobody may see"
    if TOKEN.encode() in response:
        yield f"{asked.what}: showed the token"
    if asked.shows not in response:
        yield f"{asked.what}: {asked.shows.decode()!r} expected in the answer"


def judge_sockets(name: str, found: set[Listening]) -> list[str]:
    """Name the sockets that other machines can reach."""
    elsewhere = sorted(each for each in found if not each.on_loopback)
    return [f"{name}: loopback expected, found {each.address}:{each.port}" for each in elsewhere]


def _asked(
    what: str,
    path: str,
    headers: Sequence[str] = (),
    code: int | tuple[int, ...] = 200,
    shows: str = "",
    **more: str,
) -> Asked:
    """A request for a path, with headers and what else `request` takes."""
    codes = code if isinstance(code, tuple) else (code,)
    return Asked(what, request(path, *headers, **more), codes, shows.encode())


def _strangers() -> Iterator[Asked]:
    """Requests to a server without a token that are not to be answered."""
    for name in _DATA["hosts"]:
        yield _asked(f"called {name!r}", "/api/studies", host=name, code=403)
    yield Asked("called nothing", b"GET /api/studies HTTP/1.0\r\n\r\n", (403,))
    yield _asked("a proxy's address", "http://localhost/studies/", host="evil.example", code=403)
    for change in _DATA["changes"]:
        method, path = change.split()
        yield _asked(change, path, method=method, body='{"study_name": "stolen", "direction": 1}', code=405)
    for path in (*_DATA["paths"], "/studies/" + "a" * 5000):
        yield _asked(f"GET {path[:60]}", path, code=(403, 404))
    yield _asked("a long address", "/" + "a" * 70_000, code=414)
    yield Asked("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (0, 400, 403))
    yield Asked("a line of nothing", b"GET\r\n\r\n", (0, 400))


def _without_token() -> Iterator[Asked]:
    """Requests to a server with a token by those who don't know it."""
    for token in (*_DATA["tokens"], TOKEN[:-1], TOKEN.upper()):
        yield _asked(f"token {token!r}", f"/api/studies?token={token}", code=401)
    for path in _DATA["closed_paths"]:
        yield _asked(f"no token for {path}", path, code=401)
    for header in _DATA["headers"]:
        yield _asked(f"by {header!r}", "/api/studies", [header], code=401)
    bearer = f"Authorization: Bearer {TOKEN}"
    yield _asked("DELETE with the token", "/api/studies/1", [bearer], method="DELETE", code=405)
    yield _asked("the token under another name", f"/?token={TOKEN}", host="evil.example", code=403)


_DATA = yaml.safe_load(
    Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8").replace("TOKEN", TOKEN)
)
FRIENDS, WITH_TOKEN = ([_asked(**each) for each in _DATA[name]] for name in ("friends", "with_token"))
STRANGERS, WITHOUT_TOKEN = list(_strangers()), list(_without_token())
COUNT = len(STRANGERS) + len(WITHOUT_TOKEN)
REFUSED: Sequence[Sequence[str]] = _DATA["refused"]


@dataclass(frozen=True)
class Server:
    """A dashboard that answers."""

    name: str
    process: Process
    port: int

    def ended(self, complaints: bool = False) -> list[str]:
        """End it by Ctrl-C, which it does quietly; what is wrong with that.

        Args:
            complaints: whether it may have printed a few lines, of a database that was away.
        """
        self.process.send(signal.SIGINT)
        done = self.process.done(20)
        quiet = not done.err or (complaints and done.err.count("\n") <= _FEW)
        if done.code in (0, 130) and quiet:
            return []
        return [f"{self.name}, after Ctrl-C: 130 and silence expected, found {done.code}: {done.err[-300:]}"]


def dashboards(bench: Bench, folder: Path, *options: tuple[str, ...]) -> list[Server]:
    """Dashboards that answer; the port of each is in the first line that it prints."""
    started = [bench.start(folder, "--dashboard", *each, "--port", "0") for each in options]
    servers = []
    for given, process in zip(options, started, strict=True):
        line = process.line()
        match = re.search(r"http://127\.0\.0\.1:(\d+)/", line)
        if match is None:
            raise RuntimeError(f"the dashboard did not start: {line}{process.done().output}")
        name = f"the dashboard {' '.join(given[:1]) or 'without a token'}"
        servers.append(Server(name, process, int(match[1])))
    return servers


def _with_cookie(port: int) -> Iterator[str]:
    """The cookie that comes for the token opens the door, and the address that it leads to has no token."""
    response = exchange(port, request(f"/studies/?token={TOKEN}"))
    cookie = re.search(rb"Set-Cookie: ([^;]+)", response)
    if cookie is None:
        yield "the token in the address: a cookie expected, found none"
        return
    asked = _asked("the cookie", "/studies/", [f"Cookie: {cookie[1].decode()}"], shows="small")
    yield from judge_answer(asked, exchange(port, asked.data))


def _refusals(bench: Bench, folder: Path) -> Iterator[str]:
    """Addresses that are open to others, tokens that can be guessed, a database that isn't there."""
    started = [bench.start(folder, "--dashboard", *options, "--port", "0") for options in REFUSED]
    for options, process in zip(REFUSED, started, strict=True):
        found = judge_command(process.done(60), (2,))
        yield from (f"--dashboard {' '.join(options)}: {line}" for line in found)
    if (folder / "missing.db").exists():
        yield "a database that isn't there: left alone expected, found made"


def _watched(run: Process) -> set[Listening]:
    """The sockets of a run and all that it starts, watched until it ends."""
    found: set[Listening] = set()

    def over() -> bool:
        found.update(listening(family(run.pid)))
        return not run.alive

    until(over, _PATIENCE, 0.1)
    done = run.done(1)
    if done.code:
        raise RuntimeError(f"the run failed: {done.err[-500:]}")
    return found


def _run_folder(bench: Bench) -> Path:
    folder = bench.folder("servers-run")
    data = {"target": "lab.data.function", "train_count": 256, "val_count": 64}
    text = run_text(data=data, epochs=5, trackers=[{"type": "wandb", "mode": "offline"}])
    (folder / "run.yaml").write_text(text)
    return folder


def _plant(folder: Path) -> None:
    """A database, a study's pages, and beside them what nobody may see."""
    import optuna

    from lab.hpo.storage import Database

    database = Database(f"sqlite:///{folder / 'studies.db'}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(storage=database.storage, study_name="small")
    database.engine.dispose()
    study = folder / "studies" / "small"
    (study / "best").mkdir(parents=True)
    (study / "trial_00000").mkdir()
    shown = {"report.html": "<p>the report", "leaderboard.csv": "trial", "best/metrics.csv": "epoch"}
    for name, text in shown.items():
        (study / name).write_text(text)
    for name in (
        "study.yaml", "best/best.pt", ".lock", "best/.hidden.json", "trial_00000/config.yaml",
        "../../secret.txt",
    ):  # fmt: skip
        (study / name).write_bytes(MARK)
    (study / "best" / "out.json").symlink_to(folder / "secret.txt")
    (study / "best" / "study.json").symlink_to(study / "study.yaml")
    with suppress(OSError):
        (folder / "studies" / "out").symlink_to(folder)
