"""Reads back what W&B wrote: a `.wandb` file is framed like a LevelDB log, each payload is a protobuf Record.

After 7 bytes of file header come blocks of 32 KiB, in them chunks with a 7-byte header: crc (u32), length
(u16) and type (u8): 1 a whole record, 2 its first part, 3 a middle one, 4 its last. The file header is part
of the first block.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record, RunRecord

_BLOCK, _HEADER = 32 * 1024, 7


@dataclass
class WandbRun:
    """What a `.wandb` file says of its run."""

    run: RunRecord = field(default_factory=RunRecord)
    config: dict[str, Any] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)  # step to values
    steps: list[int] = field(default_factory=list)  # as they were logged
    summary: dict[str, Any] = field(default_factory=dict)
    exit_code: int | None = None


def read_run(folder: Path) -> WandbRun:
    """The one run whose file lies in W&B's folder of that run."""
    (file,) = folder.glob("*.wandb")
    found = WandbRun()
    for record in _records(file.read_bytes()):
        match record.WhichOneof("record_type"):
            case "run":
                found.run = record.run
                found.config |= _items(record.run.config.update)
            case "config":
                found.config |= _items(record.config.update)
            case "history":
                values = _items(record.history.item)
                found.steps.append(record.history.step.num)
                found.history.setdefault(record.history.step.num, {}).update(values)
            case "summary":
                found.summary |= _items(record.summary.update)
            case "exit":
                found.exit_code = record.exit.exit_code
    return found


def _items(items: Any) -> dict[str, Any]:
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}


def _records(data: bytes) -> list[Record]:
    records, parts, position = [], [], _HEADER
    while position + _HEADER <= len(data):
        if _BLOCK - position % _BLOCK < _HEADER:  # no header fits into the rest of a block
            position += _BLOCK - position % _BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _HEADER
        parts.append(data[position : position + length])
        position += length
        if kind in (1, 4):
            records.append(Record.FromString(b"".join(parts)))
            parts = []
    return records
