"""The warm server that trials are forked from; it can be started before anything slow is imported here."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

from lab.config import ConfigError, OptimizeConfig, RunConfig
from lab.config.import_policy import is_open
from lab.config.import_target import current
from lab.config.problems import Problem
from lab.hpo.changed_definitions import problems_of

# What a run imports late because it takes seconds; torch's optimizers import the compiler.
_LATE = ("torch._dynamo", "torch.utils.serialization", "torch.utils.serialization.config", "fsspec")
_PICTURES = ("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin",
             "lab.figures.curves", "lab.figures.samples")  # fmt: skip
_DEAF_TO = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TENSORBOARD = ("lab.trackers.tensorboard", "torch.utils.tensorboard")
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
    # It must not hear of a signal to the whole job, which ends what uses it; nor must what it forks.
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
    _ask(_check, config)


def redefined(config: OptimizeConfig, newest: int) -> list[Problem]:
    """`lab.hpo.changed_definitions.problems_of`, where torch has been imported already.

    Raises:
        ConfigError: a component can't be built.
        RuntimeError: the process that looked at the components died of it.
    """
    if config.isolation == "none":
        return problems_of(config, newest)
    found: list[Problem] = _ask(_redefined, config, newest)
    return found


def _ask(action: Callable[..., None], *arguments: Any) -> Any:
    """Have a process of the server do something; it answers with problems, a note and a result.

    Raises:
        ConfigError: there are problems.
        RuntimeError: the process died.
    """
    ours, theirs = context().Pipe()
    process = context().Process(target=action, args=(theirs, *arguments), name="check")
    process.start()
    theirs.close()
    try:
        problems, note, result = ours.recv()
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


def _check(connection: Connection, config: OptimizeConfig) -> None:
    try:
        config.check()
    except ConfigError as error:
        connection.send((error.problems, error.note, None))
    else:
        connection.send(((), "", None))


def _redefined(connection: Connection, config: OptimizeConfig, newest: int) -> None:
    try:
        connection.send(((), "", problems_of(config, newest)))
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
