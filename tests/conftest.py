"""What tests share: small real configs, a place of their own, and a PostgreSQL server started once."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lab.config import RunConfig
from lab.config.validation import validate
from selftest.postgres import HINT, find_postgres

ROOT = Path(__file__).parent.parent
NUCLEI = ROOT.parent / "shared" / "data" / "nuclei"

Say = Callable[..., str]

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a suite begun by a shell's `&`
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # or by `nohup`
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # small tensors, and the tests may run side by side
os.environ["LAB_ALLOW_IMPORT"] = "tests"  # networks and data that stand beside a test


@pytest.fixture
def nuclei() -> Path:
    """120 real microscopy images and masks, which are not part of the project."""
    if not NUCLEI.is_dir():
        pytest.skip(f"the nuclei images are not there: {NUCLEI}")
    return NUCLEI


@pytest.fixture
def config() -> Callable[..., RunConfig]:
    """A small real config; dotted paths override it: `config(**{"optimizer.lr": 0.1})`."""

    def make(**values: Any) -> RunConfig:
        base = validate(
            RunConfig,
            {
                "name": "small",
                "epochs": 2,
                "batch_size": 16,
                "device": "cpu",
                "data": {"target": "lab.data.function", "train_count": 48, "val_count": 16},
                "net": {"target": "model.MLP", "width": 8, "layers": 1},
                "pictures": {"enabled": False},
            },
        )
        return base.with_values(values)

    return make


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that runs/ lands there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def main_py(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the real `python main.py ...` in an empty folder; `config` texts are written to run.yaml there."""

    def call(
        *arguments: str, config: str | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        if config is not None:
            (tmp_path / "run.yaml").write_text(config)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_API_KEY": ""}
        return subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return call


@pytest.fixture
def say(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Says a command in the module's own `place`, expects an exit code, gives what was printed: the errors
    where it is 1 or 2."""
    import main as program

    monkeypatch.chdir(place)

    def call(code: int, *arguments: str) -> str:
        try:
            ended = program.main(list(arguments))
        except SystemExit as stop:  # argparse
            ended = int(stop.code or 0)
        out, err = capsys.readouterr()
        assert ended == code, (out, err)
        return str(err if code in (1, 2) else out)

    return call


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes URLs of new, empty databases; on the server of TEST_DB_URL where that is given."""
    server = find_postgres(tmp_path_factory.mktemp("postgres"))
    if server is None:
        pytest.skip(HINT)
    yield server.new_database
    server.close()
