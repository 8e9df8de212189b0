"""The inventory has every part of a checkpoint, and the documentation is what the code has."""

from collections.abc import Callable
from pathlib import Path

from lab import checkpoint
from lab.config import RunConfig
from lab.train.changed_settings import SETTINGS
from lab.train.state_inventory import INVENTORY, Continued
from tests.conftest import ROOT
from util import Trainer, run

DOCUMENT = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")


def table(header: str) -> list[str]:
    """The rows of the table below a header."""
    lines = DOCUMENT.partition(header + "\n")[2].splitlines()[1:]
    return lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]


def test_the_document_lists_the_inventory() -> None:
    rows = [f"| {part.name}: {part.what} | {part.continued.value} | {part.kept} |" for part in INVENTORY]
    assert table("| state | | kept in |") == rows


def test_the_document_lists_the_settings() -> None:
    rows = [
        f"| `{name}` | {setting.what} | {setting.effect.value}{setting.besides} |"
        for name, setting in SETTINGS.items()
    ]
    assert table("| changed setting | state that belongs to it | what becomes of it |") == rows


def test_every_part_of_a_checkpoint_is_in_it(config: Callable[..., RunConfig], workplace: Path) -> None:
    listed = {part.kept for part in INVENTORY if part.continued is Continued.RESTORED}
    assert set(Trainer.from_config(config(), batches=3).parts()) == listed
    folder = run(config(), console="quiet").run_dir
    about = {"format", "config", "data", "definitions", "group_rule"}
    assert set(checkpoint.load(folder / "checkpoints" / "last.pt")) - about <= listed
