"""Evaluation of any task by its loss and metrics, on the validation or test set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.data.loaders import create_loader
from lab.evaluate.base import Evaluation, Evaluator, HeldOut, Progress
from lab.predict.loaded_run import LoadedRun, load
from lab.train.evaluation import evaluate


@dataclass
class GenericEvaluation(Evaluation):
    """`loss` and the metrics of one set, by name. `lab.report.generic` writes it."""

    values: Mapping[str, float] = field(default_factory=dict)


class GenericEvaluator(Evaluator[LoadedRun, GenericEvaluation]):
    """Evaluator of any task by its loss and metrics, as in validation.

    Of several seeds or folds one has to be named.
    """

    whole = False
    load = staticmethod(load)

    def begin(self, folder: Path, held_out: HeldOut[LoadedRun]) -> GenericEvaluation:
        """Create a result without values."""
        return GenericEvaluation(folder, held_out.split)

    def evaluate_part(
        self, result: GenericEvaluation, held_out: HeldOut[LoadedRun], on_progress: Progress
    ) -> None:
        """Add the values of the set."""
        loaded, dataset = held_out.loaded, held_out.dataset
        if dataset is None:
            raise held_out.absent("set")
        config, runtime = loaded.config, loaded.runtime
        criterion, notes = loaded.create_criterion()
        metrics = config.create_metrics(loaded.facts)
        result.values = evaluate(
            loaded.model,
            create_loader(dataset, config.batch_size, shuffle=False, device=runtime.device),
            task=loaded.task,
            criterion=criterion,
            runtime=runtime,
            metrics={name: runtime.place(metric) for name, metric in metrics.items()},
        )
        result.notes += [*loaded.notes, *notes]
