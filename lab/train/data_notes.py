"""Notes that `--run` and `--check` print before the first batch: on the data, the settings and the loss."""

from collections.abc import Iterator, Mapping

from lab.config import RunConfig
from lab.config.dataset_info import DatasetInfo
from lab.config.import_target import notes_on_moved
from lab.config.mask_values import Auto, listed, mean_over
from lab.data.loaders import Loaders, TensorLoader
from lab.data.streams import StreamLoader
from lab.events import Note
from lab.losses.terms import Criterion
from lab.losses.torch_losses import known
from lab.provenance.user_modules import import_paths
from lab.store.definitions import FIRST, Definition

_RARE = 10  # times fewer samples than another class are worth a note


def setup_notes(
    config: RunConfig,
    criterion: Criterion,
    data: Loaders,
    described: Mapping[str, Definition] = {},
) -> list[Note]:
    """List what is remarkable about the data, the settings and the loss.

    Args:
        described: the definition of each logged metric and loss.
    """
    return [*data_notes(config, data, described), *loss_notes(criterion)]


def data_notes(config: RunConfig, data: Loaders, described: Mapping[str, Definition] = {}) -> Iterator[Note]:
    """Yield what is remarkable about the data, and settings that have no effect."""
    # Each note is on something that is legal, so no error, but seldom intended.
    info = data.info
    if empty := info.without_objects:
        some = f"{', '.join(empty[:3])}{' …' if len(empty) > 3 else ''}"
        yield Note(f"{len(empty)} training images have no object in their masks: {some}", "warning")
    if unlabelled := info.counts.get("unlabelled"):
        yield Note(f"{unlabelled} images have no mask and are not used")
    if layout := info.layout:
        yield Note(f"Read as {layout}")
    yield from (Note(each, "warning") for each in info.warnings)
    yield from (Note(each) for each in _means(config, info, described))
    yield from (Note(each, "warning") for each in _rare(info.counts.get("train")))
    yield from (Note(each, "warning") for each in data.notes())
    if config.val is None:
        pictures = "; no plots of predictions are drawn" if config.pictures.enabled else ""
        text = f"val is null: nothing is validated, and the best epoch is that of {config.monitor.metric}"
        yield Note(f"{text}, which does not measure how the network does on new data{pictures}")
    if config.steps_per_epoch and not isinstance(data.train, StreamLoader):
        yield Note("steps_per_epoch has no effect: the training data knows its length", "warning")
    if config.loader.shard and not isinstance(data.train, StreamLoader):
        yield Note("loader.shard has no effect: the training data is no stream", "warning")
    if config.loader.workers and isinstance(data.train, TensorLoader):
        yield Note("loader.workers has no effect: the training data is in memory", "warning")
    yield from (Note(each, "warning") for each in notes_on_moved(import_paths(config.as_data())))


def loss_notes(criterion: Criterion) -> Iterator[Note]:
    """Warn where the loss is a sum over each batch, so that it grows with the batch."""
    loss = known(criterion)
    if loss is not None and loss.reduction == "sum":
        message = "criterion.reduction: sum makes the loss, its gradient and val_loss depend on batch_size"
        yield Note(
            f"{message}; the losses of batches are averaged. With reduction: mean they don't", "warning"
        )


def _means(config: RunConfig, info: DatasetInfo, described: Mapping[str, Definition]) -> Iterator[str]:
    """The classes of masks that means are over, where they are other than a single foreground."""
    if not getattr(config.task.resolve(), "one_logit", False):
        return
    names = [str(name) for name in info.classes or ()]
    background = info.background_class
    if names and background != Auto.AUTO:
        index = background if isinstance(background, int) else None
        if len(listed(names, index)) > 1:
            yield f"means over classes are over {mean_over(names, index)}"
    elif any(described[name].number > FIRST for name in config.metrics if name in described):
        yield (
            "the data names no classes, so means are over all of them; name them in its facts, such as "
            '{"classes": ["background", "cell", "debris"]}, or set the background of a metric'
        )


def _rare(counts: object) -> Iterator[str]:
    """Warn of a class with few samples beside another, where the data counts its classes."""
    if not isinstance(counts, Mapping) or not counts:
        return
    least, most = (pick(counts, key=lambda name: counts[name]) for pick in (min, max))
    if counts[least] * _RARE <= counts[most]:
        yield (
            f"the training set has {counts[least]} of {least!r} and {counts[most]} of {most!r}; "
            "criterion: {target: lab.losses.CrossEntropy, class_weights: auto} balances them"
        )
