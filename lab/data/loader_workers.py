"""Loader workers that live as long as their loader does, start early and end quietly."""

import contextlib
import os
import signal
import sys
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader

from lab.config.sections import LoaderConfig
from lab.data.epoch_loader import EpochLoader

_PATIENCE = 5.0  # seconds for a worker to end


class KeptWorkers(DataLoader[object], EpochLoader):
    """A DataLoader whose workers live as long as it does and can be started early."""

    def start(self, epoch: int, done: int = 0) -> None:
        """Start the workers on an epoch's batches, but for the first ones where they are done already.

        They are forked, so this is called before anything else has started a thread.
        """
        if self.num_workers > 0:
            self.set_epoch(epoch)
            self.skip(done)
            self._waiting = super().__iter__()

    def stop(self) -> None:
        """End the workers, also where somebody, such as a traceback, still holds the iterator."""
        self.__dict__.pop("_waiting", None)
        iterator, self._iterator = self._iterator, None
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            with contextlib.suppress(RuntimeError):  # torch's word that a worker was killed
                shutdown()
            # That word may interrupt the shutdown, also before it has terminated the others.
            for worker in getattr(iterator, "_workers", ()):
                with contextlib.suppress(RuntimeError):
                    worker.terminate()
                with contextlib.suppress(RuntimeError):
                    worker.join(_PATIENCE)

    def __iter__(self) -> Any:
        waiting = self.__dict__.pop("_waiting", None)
        return super().__iter__() if waiting is None else waiting


def worker_options(config: LoaderConfig, device: torch.device | str, workers: int) -> dict[str, Any]:
    """The arguments of torch's DataLoader for a number of workers."""
    pin_memory = torch.device(device).type == "cuda" if config.pin_memory is None else config.pin_memory
    options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin_memory}
    if workers:
        options |= {
            "persistent_workers": True,
            "prefetch_factor": config.prefetch,
            "worker_init_fn": _set_up_worker,
            # The default in a trial of a study is another: each worker would start Python and import torch.
            "multiprocessing_context": "fork" if sys.platform == "linux" else None,
        }
    return options


def _set_up_worker(worker: int) -> None:
    """One thread, and a quiet end.

    OpenCV's threads in every worker would fight over the cores; torch limits its own already. A signal to
    the whole job, as batch systems and terminals send it, must not look like a crash of the worker to the
    training, which has got the same signal and is about to close the run in order.
    """
    cv2 = sys.modules.get("cv2")
    if cv2 is not None:
        cv2.setNumThreads(0)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.excepthook = _report_error


def _report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print an error of a thread, unless the training has ended and takes no more batches."""
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)
