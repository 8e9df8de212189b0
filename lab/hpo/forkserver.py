"""The warm server that trials are forked from; it can be started before anything slow is imported here."""

import multiprocessing
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from lab.config import ConfigError, OptimizeConfig, RunConfig
from lab.config.import_policy import is_open
from lab.config.import_target import current
from lab.config.problems import Problem
from lab.hpo.changed_definitions import newest_of, problems_of
from lab.store.definitions import CURRENT
from lab.store.paths import anchored

# What a run imports late because it takes seconds; torch's optimizers import the compiler.
_LATE = ("torch._dynamo", "torch.utils.serialization", "torch.utils.serialization.config", "fsspec")
_PICTURES = ("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin",
             "lab.figures.curves", "lab.figures.samples")  # fmt: skip
_DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TENSORBOARD = ("lab.trackers.tensorboard", "torch.utils.tensorboard")
_ATTEMPTS = 5  # to start a process, where the server is killed each time
_END = 0.1  # seconds that a killed server may take to end
_OOM_SCORE = 500  # of 1000: a trial that takes half of the memory less is ended before its scheduler
_KNOWN = ("torch", "torchvision", "segmentation_models_pytorch", "albumentations", "sklearn", "lab", "model")


def context() -> ForkServerContext:
    """Return the multiprocessing context of the server."""
    return multiprocessing.get_context("forkserver")


def warm_up(config: RunConfig, *modules: str) -> None:
    """Start the server, if it isn't there, and have it import modules and those of a run's components.

    A user's own modules are imported in each trial: they might touch a GPU, and then nothing can be forked.
    """
    found = {current(target).rpartition(".")[0] for target in targets(config)}
    known = sorted(module for module in found if module.split(".")[0] in _KNOWN and is_open(module))
    late = [*_LATE, *(_PICTURES if config.pictures.enabled else ())]
    late += _TENSORBOARD if any(tracker.type == "tensorboard" for tracker in config.shipped_trackers) else ()
    context().set_forkserver_preload([*modules, *late, *known, "lab.hpo.gc_freeze"])
    _ensure_running()


def _ensure_running() -> None:
    """Start the server if it isn't there; Python would do so as well, but with other signals and paths."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        pipe = select.poll()  # which the server alone reads from
        pipe.register(server._forkserver_alive_fd, 0)
        if not pipe.poll(0):
            return
        server._stop()  # it was killed: put it away
    # It must not receive a signal to the whole job, which ends what uses it; nor must what it forks.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _DEAF_TO}
    ours = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),  # Python 3.11 starts it without ours
        "PYTHONSAFEPATH": "1",  # nor may a random.py in the current folder take the place of Python's
    }
    theirs = {name: os.environ.get(name) for name in ours}
    os.environ |= ours
    try:
        forkserver.ensure_running()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for name, value in theirs.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def check(config: OptimizeConfig) -> None:
    """`config.check()`, where torch has been imported already; this process does without.

    Raises:
        ConfigError: with every problem found.
        RuntimeError: the process that looked at the components died of it.
    """
    _ask(OptimizeConfig.check, config)


def redefined(config: OptimizeConfig, attributes: Mapping[str, Any]) -> list[Problem]:
    """`lab.hpo.changed_definitions.problems_of`, where torch has been imported already.

    Args:
        attributes: of the study, which name the newest definition that its trials may have.

    Raises:
        ConfigError: a component can't be built.
        RuntimeError: the process that looked at the components died of it.
    """
    newest = newest_of(attributes)
    if newest >= CURRENT:
        return []
    if config.isolation == "none":
        return problems_of(config, newest)
    found: list[Problem] = _ask(problems_of, config, newest)
    return found


def start(
    action: Callable[..., None], *arguments: Any, name: str | None
) -> tuple[ForkServerProcess, Connection]:
    """Start a process of the server; the action's first argument is the other end of the connection.

    A server that was killed is started again, also one that is killed meanwhile.

    Raises:
        RuntimeError: the server ended each time.
    """
    for _ in range(_ATTEMPTS):
        _ensure_running()
        # New ones each time: the server may have forked a process before it ended, which uses the others.
        ours, theirs = context().Pipe()
        process = context().Process(target=_begin, args=(theirs, action, *arguments), name=name)
        try:
            process.start()
        except (EOFError, ConnectionError):
            ours.close()
            time.sleep(_END)
        else:
            return process, ours
        finally:
            theirs.close()
    raise RuntimeError(f"the process that trials are forked from ended {_ATTEMPTS} times in a row")


def _begin(connection: Connection, action: Callable[..., None], *arguments: Any) -> None:
    """Do what the process is for, in its own session, and as the first to go where memory runs out."""
    os.setsid()
    with suppress(OSError):  # Linux alone has it
        file = Path("/proc/self/oom_score_adj")
        file.write_text(str(min(1000, int(file.read_text(encoding="ascii")) + _OOM_SCORE)), encoding="ascii")
    with anchored():
        action(connection, *arguments)


def cause_of_death(code: int | None, killed: bool = False) -> str:
    """Describe an exit code; `killed` where this program has ended the process."""
    if code is None or code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = "; the machine may be out of memory" if name == "SIGKILL" and not killed else ""
    return f"its process was ended by {name}{hint}"


def _ask(action: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call in a process of the server.

    Raises:
        ConfigError: there are problems.
        RuntimeError: the process died.
    """
    process, connection = start(_answer, action, *arguments, name="check")
    try:
        problems, note, result = connection.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"checking the components ended their process (exit code {process.exitcode}); "
            "one of the modules named in the config does so when it is imported"
        ) from None
    process.join()
    if problems:
        raise ConfigError(problems, note)
    return result


def _answer(connection: Connection, action: Callable[..., Any], *arguments: Any) -> None:
    """Send problems, a note and a result."""
    try:
        connection.send(((), "", action(*arguments)))
    except ConfigError as error:
        connection.send((error.problems, error.note, None))


def targets(config: RunConfig) -> Iterator[str]:
    """The import paths of a run's components, nested ones included."""

    def within(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            if isinstance(value.get("target"), str):
                yield value["target"]
            for item in value.values():
                yield from within(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                yield from within(item)

    return within(config.as_data())
