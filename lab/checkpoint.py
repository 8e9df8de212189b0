"""Checkpoints: written atomically, with a checksum, and loaded as plain data only.

The file is what `torch.save` writes, with the sha256 of that content in the comment of its zip container:
one file, written once, that plain `torch.load` reads as well. It is written under another name, synced and
renamed.
"""

import hashlib
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, cast

import torch
from torch.optim import Optimizer

from lab.config import ConfigError
from lab.config.refused_command import Refused
from lab.state.plain_values import plainly, with_arrays
from lab.store.file_io import atomic_open

FORMAT = 1
_COMMENT = re.compile(rb"sha256=([0-9a-f]{64})\Z")
_COMMENT_SIZE = 71


StateDict: TypeAlias = Mapping[str, Any]
"""The state of a part, or of all parts by name: plain data of any kind, as each part defines it."""


class Stateful(Protocol):
    """An object with a state to keep."""

    def state_dict(self) -> StateDict: ...

    def load_state_dict(self, state: Any) -> object: ...


class CheckpointError(Refused, ValueError):
    """A checkpoint that is damaged, or a file that is not a checkpoint."""


def collect(parts: Mapping[str, Stateful | StateDict | None]) -> dict[str, Any]:
    """Return the states of the parts by name, as plain data; a mapping is a state, and None is left out."""
    states = {
        name: part if isinstance(part, Mapping) else part.state_dict()
        for name, part in parts.items()
        if part is not None
    }
    return {name: plainly(_as_dict(state), name, []) for name, state in states.items()}


def unkeepable(parts: Mapping[str, Stateful | None]) -> dict[str, list[str]]:
    """Return what of the parts' states is no plain data, by the part's name."""
    found: dict[str, list[str]] = {name: [] for name in parts}
    for name, part in parts.items():
        if part is not None:
            plainly(_as_dict(part.state_dict()), "", found[name])
    return {name: wrong for name, wrong in found.items() if wrong}


def restore(parts: Mapping[str, Stateful | None], state: StateDict) -> None:
    """Load each part's state from a checkpoint's content.

    Raises:
        CheckpointError: a part is missing in the checkpoint, or doesn't fit.
        ConfigError: raised by a part itself.
    """
    missing = [name for name, part in parts.items() if part is not None and name not in state]
    if missing:
        raise CheckpointError(f"the checkpoint has no {', '.join(missing)}")
    for name, part in parts.items():
        if part is not None:
            try:
                part.load_state_dict(_with_fresh(part, with_arrays(state[name])))
            except ConfigError:
                raise
            except Exception as error:  # whatever a custom part, or torch, raises
                reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
                message = f"the checkpoint's {name} doesn't fit ({reason})"
                raise CheckpointError(f"{message}; start a new run, or restore the code as it was") from error


def _as_dict(state: StateDict) -> dict[str, Any]:
    return state if isinstance(state, dict) else dict(state)  # a module's has metadata


def _with_fresh(part: Stateful, state: StateDict) -> StateDict:
    """Add to an optimizer's state those options of its groups that are no plain data, such as functions."""
    if not isinstance(part, Optimizer) or len(state["param_groups"]) != len(part.param_groups):
        return state
    pairs = zip(part.param_groups, state["param_groups"], strict=True)
    return {**state, "param_groups": [{**fresh, **group} for fresh, group in pairs]}


def save(path: Path, content: StateDict) -> None:
    """Write a checkpoint atomically."""
    with atomic_open(path) as file:
        writer = _HashingWriter(file)
        try:
            torch.save({"format": FORMAT, **content}, cast(IO[bytes], writer))
        except RuntimeError as error:  # torch's own error for a write that failed, or was interrupted
            if writer.fault is not None:
                raise writer.fault from None
            if error.__context__ is not None and not isinstance(error.__context__, Exception):
                raise error.__context__ from None  # a signal's
            raise
        finally:
            writer.over = True
        # The content ends with the zip's end record; its last two bytes, 0, are the comment's length.
        comment = b"sha256=" + writer.digest.hexdigest().encode()
        file.seek(-2, os.SEEK_END)
        file.write(struct.pack("<H", len(comment)) + comment)


def sweep(folder: Path) -> None:
    """Remove the temporary files of a killed `save`; the caller holds the lock of the run's folder."""
    # An exclusive lock on the folder is the only proof that no other process is writing one of them.
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def load(path: Path, map_location: torch.device | str = "cpu") -> dict[str, Any]:
    """Verify and read a checkpoint; nothing in it is executed.

    Raises:
        CheckpointError: it is missing, damaged, or was not written by `save`.
    """
    try:
        _verify(path)
        content = torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such checkpoint") from None
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: can't be read: {_reason(error)}") from error
    except Exception as error:
        # pickle.UnpicklingError and whatever a malformed file makes the reader raise
        raise CheckpointError(f"{path}: is not a checkpoint of plain data: {_reason(error)}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path}: was not written by this program, or by another version of it")
    return content


def _reason(error: Exception) -> str:
    """Return torch's reason in a line, without its advice to load the file with `weights_only=False`."""
    text = str(error).rpartition("WeightsUnpickler error:")[2]
    text = re.sub(r"In PyTorch 2\.6.*?from a trusted source\.", "", text, flags=re.DOTALL)
    for advice in ("Please use `torch.serialization", "Check the documentation of torch.load"):
        text = text.partition(advice)[0]
    return " ".join(text.split()) or type(error).__name__


def network_state(content: StateDict) -> dict[str, Any]:
    """Return the network's weights as they were validated: averaged, where the run had an EMA."""
    if not content.get("ema"):
        return dict(content["model"])
    prefix = "module."
    return {k.removeprefix(prefix): v for k, v in content["ema"].items() if k.startswith(prefix)}


def load_latest(folder: Path) -> tuple[dict[str, Any], Path, list[str]]:
    """Load the newest checkpoint that is intact; return it, its path, and what was wrong with newer ones.

    Raises:
        CheckpointError: there is none.
    """
    faults: list[str] = []
    for name in ("last.pt", "prev.pt"):
        try:
            return load(folder / name), folder / name, faults
        except CheckpointError as error:
            faults.append(str(error))
    raise CheckpointError("; ".join(faults))


def _verify(path: Path) -> None:
    size = path.stat().st_size
    with path.open("rb") as file:
        content = size - _COMMENT_SIZE
        if content < 22:
            raise CheckpointError(f"{path}: is truncated, or not a checkpoint ({size} bytes)")
        file.seek(content)
        match = _COMMENT.fullmatch(file.read())
        if match is None:
            raise CheckpointError(
                f"{path}: has no checksum at its end; it is truncated, or was not written by this program"
            )
        file.seek(0)
        digest = hashlib.sha256()
        remaining = content - 2
        while remaining:
            block = file.read(min(remaining, 2**20))
            digest.update(block)
            remaining -= len(block)
        length = file.read(2)
        digest.update(b"\0\0")  # the comment's length as it was when the digest was taken
        if length != struct.pack("<H", _COMMENT_SIZE) or digest.hexdigest().encode() != match.group(1):
            raise CheckpointError(f"{path}: its checksum doesn't match; the file is damaged")


class _HashingWriter:
    """Hash what passes through, so that the file need not be read again.

    torch's writer calls once more when it is destroyed, if a signal has interrupted a call of `write`. An
    exception then ends the process (`std::terminate`): so once it is over, nothing is written any more.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.fault: OSError | None = None
        self.over = False

    def write(self, block: bytes) -> int:
        if self.over:
            return len(block)
        self.digest.update(block)
        try:
            return self._file.write(block)
        except OSError as error:
            self.fault = error
            raise

    def flush(self) -> None:
        self._file.flush()
