"""The record of a run in its folder: `config.yaml`, which reruns it, and `provenance.json`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from lab.config import RunConfig
from lab.config.saved_config import as_written, written
from lab.events import Callback, RunStart
from lab.provenance.machine import collect
from lab.provenance.run_parts import History
from lab.provenance.user_modules import import_paths, installed
from lab.store import file_io, run_folder
from lab.train.run_context import RunContext


@contextmanager
def recorded(
    context: RunContext, config: RunConfig, device: torch.device, begin: RunStart, callbacks: Callback
) -> Iterator[None]:
    """Write both files, with a note for what they lack.

    Modules that are imported within the context, such as by a dataset for its first sample, are added at its
    end.
    """
    file_io.atomic_write(context.folder / run_folder.CONFIG, written(config.as_data()))
    path, paths = context.folder / run_folder.PROVENANCE, set(import_paths(config.as_data()))
    code = context.code
    first = not code.looked
    code.look(paths)
    # A resumed run adds a part to its history: each part has the code and the machine of its epochs.
    history, notes = History.of(path, begin.resumed) if context.resume else (History(), [])
    source = as_written(context.source) if context.source else ""
    part = {
        "first_epoch": begin.first_epoch,
        "first_step": begin.first_step,
        **collect(list(context.command) or sys.argv, config.seeds[0], str(device), named=installed(paths)),
        "yaml": code.keep(source) if source else None,
    }
    history.add(part | code.as_data(), code.texts)
    history.write(path)
    for note in (*notes, *history.changed_versions(), *(code.notes() if first else ())):
        callbacks.on_note(note)
    try:
        yield
    finally:
        # Files that were imported late belong to the same part of the history, which is replaced.
        if code.look(paths):
            history.renew(part | code.as_data(), code.texts)
            with suppress(OSError):  # a full disk, which others report
                history.write(path)
