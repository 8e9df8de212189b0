"""The documentation lists every part of a checkpoint, and every setting with what becomes of its state."""

from collections.abc import Callable
from pathlib import Path

from lab import checkpoint
from lab.config import RunConfig
from lab.train.changed_settings import REFUSED, REFUSED_BELOW, REFUSED_BY_STEPS
from tests.conftest import ROOT
from util import Trainer, run

DOCUMENT = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")


def table(header: str) -> list[str]:
    """The rows of the table below a header."""
    lines = DOCUMENT.partition(header + "\n")[2].splitlines()[1:]
    return lines[: next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))]


def cells(header: str) -> list[list[str]]:
    return [row.strip("|").split(" | ") for row in table(header)]


STATES = [[cell.strip() for cell in row] for row in cells("| state | | kept in |")]
SETTINGS = [
    [cell.strip() for cell in row]
    for row in cells("| changed setting | state that belongs to it | what becomes of it |")
]
EFFECTS = {
    "refused",
    "is reset, with a message",
    "stays; the new value counts from here on, with a message",
    "nothing; the change is noted",
}


def test_the_document_lists_each_state_once_and_with_its_fate() -> None:
    names = [state.partition(": ")[0] for state, _, _ in STATES]
    assert len(names) == len(set(names)) == 25
    assert {continued for _, continued, _ in STATES} == {
        "restored, to the bit",
        "follows from (seed, epoch, index)",
        "starts from scratch by definition",
        "not continued; a message names it",
    }


def test_the_document_lists_every_setting_and_what_is_refused() -> None:
    fields = [name.strip("`") for name, _, _ in SETTINGS]
    assert sorted(fields) == sorted(RunConfig.model_fields)
    effects = [next(each for each in EFFECTS if effect.startswith(each)) for _, _, effect in SETTINGS]
    assert set(effects) == EFFECTS
    assert {name for name, effect in zip(fields, effects, strict=True) if effect == "refused"} == REFUSED
    below = [each for _, _, effect in SETTINGS for each in effect.split("; ") if each.startswith("`")]
    by_steps = [f"`{name}` is refused where the scheduler moves by steps" for name in REFUSED_BY_STEPS]
    assert sorted(below) == sorted([*by_steps, *(f"`{name}` is refused" for name in REFUSED_BELOW)])


def test_every_part_of_a_checkpoint_is_in_it(config: Callable[..., RunConfig], workplace: Path) -> None:
    listed = {kept for _, continued, kept in STATES if continued == "restored, to the bit"}
    assert set(Trainer.from_config(config(), batches=3).parts()) == listed
    folder = run(config(), console="quiet").run_dir
    about = {"format", "config", "data", "definitions", "group_rule"}
    assert set(checkpoint.load(folder / "checkpoints" / "last.pt")) - about <= listed
