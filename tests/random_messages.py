"""Typed records whose texts are random from their construction on: code that depends on a message then shows.

`make_random` replaces them in this process. `environment` does so in every process that a command starts.
"""

import os
import random
import string
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
Replace = Callable[[type, str, Any], object]


def texts() -> dict[type, tuple[str, ...]]:
    """The records, and which of their attributes are messages. Add new ones here."""
    from lab.checkpoint import CheckpointError
    from lab.config.problems import Problem
    from lab.config.refused_command import Refused
    from lab.data.epoch_loader import Unstackable
    from lab.errors import Infeasible
    from lab.events import Note, RunEnd, Stopped, StopRequest
    from lab.hpo.executor import WorkerDied
    from lab.hpo.storage import StorageError
    from lab.hpo.worker_main import TrialFinished
    from lab.train.first_batch_errors import Fault
    from lab.train.progress import NotFinite

    return {
        Problem: ("message", "hint"),
        Note: ("message",),
        StopRequest: ("reason",),
        Stopped: ("reason",),
        RunEnd: ("reason",),
        TrialFinished: ("reason",),
        WorkerDied: ("reason",),
        Fault: ("message",),
        **dict.fromkeys(
            (CheckpointError, Unstackable, StorageError, Infeasible, NotFinite, Refused), ("args",)
        ),
    }


def make_random(replace: Replace = setattr) -> None:
    """Make the texts of all records random.

    Args:
        replace: sets a class's attribute, such as `monkeypatch.setattr`.
    """
    for kind, names in texts().items():
        replace(kind, "__init__", _with_random_texts(kind.__init__, names))  # type: ignore[misc]


def _with_random_texts(init: Callable[..., None], names: tuple[str, ...]) -> Callable[..., None]:
    def made(self: Any, *arguments: Any, **options: Any) -> None:
        init(self, *arguments, **options)
        for name in names:
            old = getattr(self, name)
            if name == "args":
                self.args = tuple(_random_text() if isinstance(each, str) else each for each in old)
            elif old:  # an empty text is no text: it says that there is nothing to tell
                object.__setattr__(self, name, _random_text())

    return made


def _random_text() -> str:
    chance = random.SystemRandom()  # the streams of a run stay as they are
    letters = string.ascii_letters + string.digits + "';: "
    return "".join(chance.choices(letters, k=chance.randint(20, 60))).strip() or "x"


def environment(folder: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Environment variables with which Python makes the texts random, whatever it is started for."""
    folder.mkdir()
    code = "from tests.random_messages import make_random\n\nmake_random()\n"
    (folder / "sitecustomize.py").write_text(code)
    paths = [str(folder), str(ROOT), *filter(None, [base.get("PYTHONPATH")])]
    return {**base, "PYTHONPATH": os.pathsep.join(paths)}
