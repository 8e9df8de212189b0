"""The record of a run in its folder."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lab.config import RunConfig
from lab.data.loaders import create_loaders
from lab.events import Callback
from lab.store import run_folder
from lab.train.run_context import RunContext
from lab.train.run_events import run_start
from lab.train.run_record import recorded
from util import Trainer


@pytest.mark.parametrize("command", [("python", "main.py", "--run", "a.yaml"), ()])
def test_record(tmp_path: Path, config: Callable[..., RunConfig], command: tuple[str, ...]) -> None:
    context, made = RunContext(tmp_path, command=command), config(seeds=[3])
    trainer = Trainer.from_config(config(), batches=3)
    begin = run_start(context, made, trainer, create_loaders(made, None, None, torch.device("cpu")))
    with recorded(context, made, torch.device("cpu"), begin, Callback()):
        pass
    assert RunConfig.from_yaml(tmp_path / run_folder.CONFIG) == config(seeds=[3])
    provenance = json.loads((tmp_path / run_folder.PROVENANCE).read_text())
    assert provenance["seed"] == 3 and "cpu" in json.dumps(provenance["device"])
    if command:
        assert "--run a.yaml" in json.dumps(provenance["command"]).replace('", "', " ")
    else:
        assert Path(sys.argv[0]).name in json.dumps(provenance["command"])
