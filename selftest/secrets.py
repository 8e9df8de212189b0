"""Planted secrets: none of them is in anything that is written down."""

import random
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
import yaml

from selftest.bench import Bench
from selftest.postgres import HINT
from selftest.studies import described, small_run
from selftest.verdict import Verdict

_PATIENCE = 180.0


@dataclass(frozen=True)
class Secret:
    """Something that nobody may read.

    Args:
        what: for people.
        core: the part that is looked for.
        text: as it is planted.
        path: in the config's `data`, of `--set` after a `!`, or after a `$` the variable of the environment;
            empty where it is planted elsewhere.
    """

    what: str
    core: str
    text: object
    path: str = ""


def planted_secrets(bench: Bench, count: int) -> Verdict:
    """Runs, good, broken and resumed, and a study are given `count` secrets; then all bytes are searched."""
    secrets = plant(random.Random(22))[:count]
    folder = bench.folder("secrets")
    inputs = folder / "inputs"
    inputs.mkdir()
    postgres = bench.postgres()
    storage = (
        _with_password(postgres.new_database(), secrets) if postgres is not None else "sqlite:///studies.db"
    )
    _write(inputs, secrets, storage)
    environment = {secret.path[1:]: str(secret.text) for secret in secrets if secret.path.startswith("$")}
    broken = list[str]()

    def do(wanted: int, *arguments: str) -> None:
        done = bench.warm(folder, *arguments, environment=environment).done(_PATIENCE)
        if done.code != wanted:
            broken.append(f"{arguments[0]}: exit code {wanted} expected, found {done.code}: {done.last}")

    sets = [f"data.{secret.path[1:]}={secret.text}" for secret in secrets if secret.path.startswith("!")]
    given = [word for each in sets for word in ("--set", each)]
    do(0, "--run", str(inputs / "run.yaml"), *given)
    do(2, "--run", str(inputs / "run.yaml"), *given, "--set", "net.breaks=true", "--set", "name=broken")
    (run,) = (folder / "runs").glob("*_good")
    # The record has no secrets to continue with.
    do(2, "--resume", str(run), "--set", "epochs=3")
    do(0, "--resume", str(run), "--run", str(inputs / "run.yaml"), *given, "--set", "epochs=3")
    do(0, "--optimize", str(inputs / "opt.yaml"))
    do(0, "--report", "small")
    # All that was written, but for the user's own files, which may hold them.
    files = [path for path in folder.rglob("*") if path.is_file() and inputs not in path.parents]
    hits = list(search(secrets, ((str(path.relative_to(folder)), path.read_bytes()) for path in files)))
    if postgres is not None:
        hits += search(secrets, [("the database", _dump(storage))])
    size = sum(path.stat().st_size for path in files)
    figures = {"secrets": len(secrets), "files": len(files), "bytes": size, "hits": len(hits)}
    untried = [] if postgres is not None else [f"a database's password: {HINT}"]
    return Verdict(figures, [*broken, *hits], untried)


def search(secrets: list[Secret], written: Iterable[tuple[str, bytes]]) -> Iterator[str]:
    """A line for each secret that stands somewhere.

    Args:
        written: names, and bytes.
    """
    for name, content in written:
        for secret in secrets:
            if (at := content.find(secret.core.encode())) >= 0:
                around = content[max(0, at - 40) : at].decode(errors="replace")
                yield f"{name}: nothing of '{secret.what}' expected, found it after {around!r}"


def plant(rng: random.Random) -> list[Secret]:
    """The secrets, each with a core of its own."""

    def core(length: int = 24, letters: str = string.ascii_letters + string.digits) -> str:
        return "".join(rng.choices(letters, k=length - 2)) + "a7"

    def planted(what: str, text: object, path: str = "") -> Secret:
        own = core()
        return Secret(what, own, _filled(text, own), path)

    aws = "AKIA" + core(16, string.ascii_uppercase + string.digits).upper()
    parts = [core(20), core(20), core(20)]
    jwt = f"eyJ{parts[0]}.eyJ{parts[1]}.{parts[2]}"
    wandb = core(40, "0123456789abcdef")
    return [
        *(planted(**each) for each in described(__file__)),
        Secret("an AWS key under a plain name", aws, aws, "bucket"),
        Secret("a JSON web token under a plain name", parts[2], jwt, "session_name"),
        Secret("the key of W&B", wandb, wandb, "$WANDB_API_KEY"),
    ]


def _filled(text: object, core: str) -> object:
    """A text, or those in lists and mappings, with the secret in its place."""
    if isinstance(text, dict):
        return {key: _filled(value, core) for key, value in text.items()}
    if isinstance(text, list):
        return [_filled(value, core) for value in text]
    return str(text).replace("{}", core)


def _write(folder: Path, secrets: list[Secret], storage: str) -> None:
    """Write a run's and a study's file, and what the network prints."""
    data: dict[str, object] = {"target": "selftest.faulty_parts.guarded"}
    data |= {each.path: each.text for each in secrets if each.path and each.path[0] not in "!$"}
    planted = [str(each.text) for each in secrets]  # all of them, one way or another
    texts = [each.text for each in secrets if "in a traceback" in each.what]
    known = [f"reached with {each.text!r}" for each in secrets if each.path == "token" or "$" in each.path]
    lines = [" ".join(known), f"warned: {' '.join(known)}", *map(str, texts), *known]
    (folder / "said.txt").write_text("\n".join(line.replace("\n", " ") for line in lines))
    net = {"target": "selftest.faulty_parts.Telling", "file": str(folder / "said.txt")}
    trackers = [{"type": "wandb", "mode": "offline"}, {"type": "tensorboard"}]
    run = small_run(name="good", data=data, net=net, epochs=2, trackers=trackers)
    heads = [
        {"target": "selftest.faulty_parts.Head", "size": size, "api_key": text}
        for size, text in enumerate(planted[1:3])
    ]
    study = {
        "study_name": "small", "run": run, "n_trials": 3, "storage": storage,
        "preflight": "off", "max_consecutive_failures": 10,
        "sampler": {"target": "optuna.samplers.RandomSampler"},
        "search_space": {"net.breaks": {"choices": [False, True]}, "net.head": {"choices": heads}},
    }  # fmt: skip
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    (folder / "opt.yaml").write_text(yaml.safe_dump(study))


def _with_password(url: str, secrets: list[Secret]) -> str:
    """The URL with the last secret for a password: a server of the bench's own trusts whoever comes."""
    parsed = sqlalchemy.engine.make_url(url)
    password = next((each.core for each in secrets if each.what == "the database's password"), None)
    if parsed.password is not None or password is None:
        return url
    return parsed.set(password=password).render_as_string(hide_password=False)


def _dump(url: str) -> bytes:
    """All that the database holds, as text."""
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            names = sqlalchemy.inspect(engine).get_table_names()
            rows = [connection.execute(sqlalchemy.text(f'SELECT * FROM "{name}"')).all() for name in names]
    finally:
        engine.dispose()
    return repr(rows).encode()
