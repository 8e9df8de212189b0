"""W&B's helper process and server: asking whether they live, and getting rid of the process by force.

Every private name of wandb that the project touches is in this file; `requirements.txt` pins the minor
version.
"""

import logging
import os
import shutil
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from glob import escape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

_GRACE_SECONDS = 1.0
# What each run is given by this program, wherever it came from, so that W&B needn't read it again.
_OURS = frozenset(
    f"WANDB_{name}"
    for name in (
        "ENTITY", "PROJECT", "NAME", "RUN_GROUP", "JOB_TYPE", "TAGS", "NOTES", "MODE", "DIR", "RUN_ID",
        "RESUME", "SILENT", "QUIET", "CONSOLE",
    )
)  # fmt: skip
FLUSH_OFTEN = {"x_transaction_log_flush_interval": 1.0}
"""The setting that writes the offline log every second instead of every 15."""
ONLY_NUMBERS = {"x_disable_stats": True, "x_save_requirements": False}
"""The settings that leave out what W&B finds out about a process."""
_SET_BY_US: set[str] = set()  # an earlier run of this process is no wish of the user


def keep_quiet(folder: Path) -> None:
    """Have W&B cache and stage below `folder` instead of the home folder, and send no reports on itself.

    The reports hold up the end of the interpreter for 10 to 20 s where the server doesn't answer. Its
    config folder stays where it is, for it may hold the user's server and key. What the user has set in the
    environment stays.
    """
    # Where its log can't be written, each line would print a traceback.
    logging.raiseExceptions = False
    # Absolute, for other processes and after a change of the current folder.
    place = folder.resolve()
    ours = {"CACHE_DIR": place / ".cache", "DATA_DIR": place / ".data", "ERROR_REPORTING": "false"}
    for name, value in ours.items():
        if f"WANDB_{name}" not in os.environ or name in _SET_BY_US:
            os.environ[f"WANDB_{name}"] = str(value)
            _SET_BY_US.add(name)


def has_key(host: str) -> bool:
    """Return whether the environment, netrc or W&B's settings hold a key for this server; never prompt.

    Raises:
        wandb.errors.AuthenticationError: there is one, and it can't be a key.
    """
    from wandb.sdk.lib import wbauth

    found = wbauth.authenticate_session(host=host, source="lab", prompt=False, update_session=False)
    return found is not None


def why_unreachable(host: str, seconds: float) -> str | None:
    """Return the reason that the server can't be used, or None where it answers anything at all.

    W&B itself tries again and again until its init times out, and is then left with a process that continues
    trying.
    """
    try:
        with urlopen(host, timeout=seconds):
            return None
    except HTTPError:
        return None  # an answer, if an unkind one
    except (TimeoutError, URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return None  # W&B brings its own certificates
        return str(reason) or type(reason).__name__


def start() -> Any:
    """Start W&B's process, or find it; returns W&B's settings.

    It gets a second at the end and is killed then: where a run wasn't finished, and the server answers no
    more, it held up the end of the interpreter for 28 s.

    Raises:
        ValueError: a variable of the environment holds what W&B does not take; it is named.
    """
    import wandb

    _read_by_name(wandb.Settings)
    setup: Any = wandb.setup(wandb.Settings(silent=True))
    process = setup._connection._proc
    # Without one, the process belongs to a parent of ours.
    if process is not None:
        process.join = partial(_end, process._process)
    return setup.settings


def _read_by_name(settings: Any) -> None:
    """Have W&B read the variables that are its own one by one, and leave out those that a run is given.

    One that doesn't count for a run, and that W&B would not take, must not disable the tracker.
    """
    read = settings.update_from_env_vars
    if getattr(read, "by_name", False):
        return

    def by_name(self: Any, environ: Mapping[str, str]) -> None:
        for variable in sorted(environ.keys() - _OURS):
            try:
                read(self, {variable: environ[variable]})
            except ValueError as error:
                listed: Any = getattr(error, "errors", list)()  # pydantic's own error is over several lines
                why = listed[0]["msg"] if listed else str(error)
                message = f"{variable} is {environ[variable]!r} in the environment, which W&B rejects"
                raise ValueError(f"{message}: {why}") from error

    by_name.by_name = True  # type: ignore[attr-defined]
    settings.update_from_env_vars = by_name


def forget_dead() -> None:
    """Discard W&B's process if it has died: the next `start` starts another."""
    setup: object = sys.modules.get("wandb.sdk.wandb_setup")
    connection = getattr(getattr(setup, "_singleton", None), "_connection", None)
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    if process is not None and process.poll() is not None:
        kill()


def kill() -> None:
    """End W&B's process at once, and forget it: the next `start` starts another.

    What it has written stays; what it was about to upload is not uploaded.
    """
    setup: Any = sys.modules.get("wandb.sdk.wandb_setup")
    connection = getattr(getattr(setup, "_singleton", None), "_connection", None)
    if connection is None:
        return
    from wandb.sdk.lib import import_hooks
    from wandb.sdk.lib.service import service_token

    # A run that is not finished reports every package that is imported to its process: the import would fail.
    import_hooks.unregister_all_post_import_hooks()
    setup._singleton = None
    if connection._cleanup is not None:
        # Removes the exit hook that would wait for the process.
        connection._cleanup()
    if connection._proc is not None:
        service_token.clear_service_in_env()
        connection._proc._process.kill()
        connection._proc._process.wait()


def logged_steps(places: Iterable[Path], run_id: str) -> set[int]:
    """The steps that the offline files of a run hold, below these folders; empty where they can't be read."""
    steps: set[int] = set()
    for file in _files(places, run_id):
        # A format of W&B's own; at worst a step is there twice.
        with suppress(Exception):
            for record in records(file.read_bytes()):
                if record.HasField("history"):
                    steps.add(record.history.step.num)
    return steps


def drop_empty(places: Iterable[Path], run_id: str) -> None:
    """Remove the offline folders of a run without a whole record, as a kill in its first second leaves them.

    With one of them in its list, `wandb sync` uploads none of the others.
    """
    for file in _files(places, run_id):
        with suppress(Exception):
            if next(records(file.read_bytes()), None) is None:
                shutil.rmtree(file.parent)


def _files(places: Iterable[Path], run_id: str) -> Iterator[Path]:
    for place in places:
        yield from place.glob(f"offline-run-*-{escape(run_id)}/*.wandb")


def records(data: bytes) -> Iterator[Any]:
    """The protobuf messages of a `.wandb` file, as far as it is whole.

    It is framed like a LevelDB log: 7 bytes of file header, then blocks of 32 KiB, in them chunks with a
    header of crc (u32), length (u16) and type (u8): 1 a whole record, 2 its first part, 3 a middle one, 4 its
    last. The file header is part of the first block.
    """
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    parts, position = [], 7
    while position + 7 <= len(data):
        # No header fits into the rest of a block.
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts.append(data[position + 7 : position + 7 + length])
        position += 7 + length
        if kind in (1, 4) and position <= len(data):  # a last one may be torn
            yield messages.Record.FromString(b"".join(parts))
            parts = []


def _end(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process that is to end, or kill it; return 0, since nobody may act on its exit code."""
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return 0
