"""The findings of a run's dry run: values, costs, warnings, faults. Importing it doesn't load torch."""

from dataclasses import asdict, dataclass, field

from lab.store import file_io

DIVERGED = "the loss is not finite after one step; the learning rate may be too high"  # a fault


@dataclass(frozen=True)
class Costs:
    """The cost of a run, estimated from one batch.

    Args:
        peak_bytes: of the device: what torch took of a GPU, or all of this process's memory.
        seconds: training and validation in all epochs of all seeds.
        checkpoint_bytes: of one file.
        checkpoints: files at the end, of all seeds.
    """

    peak_bytes: int
    epoch_seconds: float
    seconds: float
    checkpoint_bytes: int
    checkpoints: int


@dataclass
class Report:
    """The findings of a check. `faults` make it fail; `warnings` and `notes` don't.

    `loss` is that after one step; it and `costs` are None where a fault came first.
    """

    figures: dict[str, str] = field(default_factory=dict)
    shapes: list[tuple[str, str, str]] = field(default_factory=list)
    loss: float | None = None
    costs: Costs | None = None
    out_of_memory: bool = False
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True where a run can be started."""
        return not self.faults

    def as_json(self) -> str:
        """Return one JSON object."""
        return file_io.printed_json({**asdict(self), "passed": self.passed}, indent=2)

    def as_text(self) -> str:
        """Return the text for the console."""
        lines = [f"{name:<28}{value}" for name, value in self.figures.items()]
        if self.shapes:
            wide = max(len(name) for name, _, _ in self.shapes) + 2
            lines += ["", "Shapes"]
            lines += [f"  {name:<{wide}}{before} -> {after}" for name, before, after in self.shapes]
        lines += [""] if self.notes or self.warnings or self.faults else []
        lines += [f"Note: {text}" for text in self.notes]
        lines += [f"Warning: {text}" for text in self.warnings] + [f"Fault: {text}" for text in self.faults]
        return "\n".join([*lines, "", "Ready to run." if self.passed else "Not ready: fix the errors above."])
