"""Targets that a loss accepts and misreads, means that depend on batching, streams, schedules."""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from selftest.inputs import users
from selftest.inputs.base import COUNT, WrongInput, mine, written
from selftest.inputs.users import TRAIN

_CLASSES = {
    "task": "lab.tasks.Classification",
    "net": mine("Fixed"),
    "criterion": "torch.nn.CrossEntropyLoss",
}
_ACCURACY = {**_CLASSES, "metrics": {"accuracy": "lab.metrics.Accuracy"}}
_MASKS = {
    "task": "lab.tasks.Segmentation",
    "net": mine("Bright"),
    "criterion": "torch.nn.BCEWithLogitsLoss",
    "metrics": {"dice": "lab.metrics.Dice"},
}


def _right(kind: str, what: str, expected: Mapping[str, float], **sections: object) -> WrongInput:
    """An input with these sections of its config, and the values that its run must have."""
    return WrongInput(kind, what, written(**sections), expected)


def _wrong(kind: str, what: str, word: str, **sections: object) -> WrongInput:
    """An input that is refused with this word, or of which a note with it warns."""
    return WrongInput(kind, what, written(**sections), {}, (word,))


def targets() -> Iterator[WrongInput]:
    """Class indices, shares and masks of which some value can't be meant."""
    yield from _indices()
    yield from _forms()
    yield from _masks()


def _indices() -> Iterator[WrongInput]:
    for value, where, at in (
        (3, "val", -1), (3, "train", 0), (7, "val", 0), (-1, "val", 3), (-1, "train", 5), (-7, "train", -1),
        (255, "val", -1), (99, "train", 1),
    ):  # fmt: skip
        what = f"class {value} in item {at} of {where}, of a network with 3 outputs"
        data = mine("classes", planted=value, at=at, where=where)
        yield _wrong("targets", what, _found(value), data=data, **_CLASSES)
    for place in ("val", "train"):
        x, y = (each.clone() for each in users.classes(planted=-100, where=place)[1].tensors)
        logits = _logits(x)
        labelled = y != -100
        expected = {
            "val_loss": float(F.cross_entropy(logits, y)),
            "val_accuracy": float((logits.argmax(1) == y)[labelled].float().mean()),
        }
        data = mine("classes", planted=-100, where=place)
        yield _right("targets", f"an unlabelled sample (-100) in {place}", expected, data=data, **_ACCURACY)


def _found(value: float) -> str:
    """The beginning of a message on targets, by the first value."""
    return f"targets have values such as {value:g};"


def _forms() -> Iterator[WrongInput]:
    x, y = users.classes()[1].tensors
    logits = _logits(x)
    true = float(F.cross_entropy(logits, y))
    shares = float(F.cross_entropy(logits, (F.one_hot(y, 3).float() + 1) / 4))
    for kind, loss in (("int32", true), ("uint8", true), ("one-hot", true), ("shares", shares)):
        data = mine("typed", kind=kind)
        yield _right("targets", f"classes as {kind}", {"val_loss": loss}, data=data, **_ACCURACY)
    sums = "class probabilities from 0 to 1 that sum to 1"
    for kind, word in (
        ("float", "the target is (8,) of torch.float32"),
        ("half", "the target is (8,) of torch.float32"),
        ("one-hot int", "the target is (8, 3) of torch.int64"),
        ("multi-hot", sums),
        ("no-hot", sums),
        ("parts", sums),
        ("percent", sums),
        ("nan", _found(math.nan)),
        ("column", "the target is (8, 1) of torch.int64"),
    ):
        data = mine("typed", kind=kind)
        yield _wrong("targets", f"classes as {kind}", word, data=data, **_ACCURACY)


def _masks() -> Iterator[WrongInput]:
    for high, low in ((255.0, 0.0), (2.0, 1.0), (1.0, -1.0), (128.0, 0.0), (0.0, 255.0), (100.0, 0.0)):
        word = _found(high if high not in (0.0, 1.0) else low)
        data = mine("masks", high=high, low=low)
        yield _wrong("targets", f"masks of {low:g} and {high:g}", word, data=data, **_MASKS)
    for extra, at, where in (
        (2.0, 0, "val"), (2.0, 7, "val"), (-1.0, 11, "train"), (254.0, 0, "train"), (math.nan, 3, "val"),
        (math.inf, 3, "train"), (1.5, 7, "val"),
    ):  # fmt: skip
        data = mine("masks", extra=extra, at=at, where=where)
        what = f"a pixel of {extra:g} in mask {at} of {where}"
        yield _wrong("targets", what, _found(extra), data=data, **_MASKS)
    for dtype in ("uint8", "int64", "bool", "float64"):
        data = mine("masks", dtype=dtype, channel=True)
        yield _right("targets", f"masks of {dtype}, with a channel", {"val_dice": 1.0}, data=data, **_MASKS)
    flat = {**_MASKS, "data": mine("masks", dtype="float32", channel=False)}
    yield _wrong("targets", "masks of float32, without a channel", "one shape (n, 1, h, w)", **flat)


def means() -> Iterator[WrongInput]:
    """The loss of a set, by torch on one batch of everything; the product gets it in batches."""
    for batch_size in (1, 3, 4, 7):
        for name, sections, expected in (*_of_classes(), *_of_numbers(), *_of_labels(), *_of_masks()):
            what = f"{name}, in batches of {batch_size}"
            yield _right("means", what, {"val_loss": float(expected)}, batch_size=batch_size, **sections)


Mean = tuple[str, Mapping[str, object], Tensor]
"""A loss by its name, the sections of a config that has it, and its true value."""


def _mean(name: str, value: Tensor, task: str, data: str, loss: str, /, **arguments: object) -> Mean:
    criterion = {"target": loss, **arguments}
    sections = {"task": f"lab.tasks.{task}", "data": mine(data), "net": mine("Fixed"), "criterion": criterion}
    return name, sections, value


def _of_classes() -> Iterator[Mean]:
    x, y = users.classes()[1].tensors
    logits, weights = _logits(x), [1.0, 5.0, 0.2]
    given, weight = ("Classification", "classes", "torch.nn.CrossEntropyLoss"), torch.tensor(weights)
    weighted = F.cross_entropy(logits, y, weight)
    yield _mean("class weights", weighted, *given, weight=weights)
    value = F.cross_entropy(logits, y, ignore_index=1)
    yield _mean("an ignored class", value, *given, ignore_index=1)
    value = F.cross_entropy(logits, y, weight, label_smoothing=0.1)
    yield _mean("class weights and smoothing", value, *given, weight=weights, label_smoothing=0.1)
    own = "class weights of the project's own loss"
    yield _mean(own, weighted, *given[:2], "lab.losses.CrossEntropy", class_weights=weights)


def _of_numbers() -> Iterator[Mean]:
    x, y = users.numbers()[1].tensors
    for name, value in (("MSELoss", F.mse_loss(_logits(x), y)), ("HuberLoss", F.huber_loss(_logits(x), y))):
        yield _mean(name, value, "Regression", "numbers", f"torch.nn.{name}")


def _of_labels() -> Iterator[Mean]:
    x, y = users.labels()[1].tensors
    positive = [3.0, 1.0, 0.5]
    value = F.binary_cross_entropy_with_logits(_logits(x), y, pos_weight=torch.tensor(positive))
    given = ("Task", "labels", "torch.nn.BCEWithLogitsLoss")
    yield _mean("weights of positives", value, *given, pos_weight=positive)


def _of_masks() -> Iterator[Mean]:
    x, mask = users.masks(extra=255.0)[1].tensors
    logits = users.Bright()(x).detach()
    judged = mask != 255
    bce = F.binary_cross_entropy_with_logits(logits[judged], mask[judged])
    sections = {**_MASKS, "data": mine("masks", extra=255.0)}
    terms = {"target": "lab.losses.WeightedSum", "terms": {"bce": 1.0}}
    yield "ignored pixels", {**sections, "criterion": terms}, bce
    truth = mask * judged
    found = logits.sigmoid() * judged
    sums = [(each * judged).flatten(1).sum(1) for each in (found * truth, found, truth)]
    dice = ((2 * sums[0] + 1) / (sums[1] + sums[2] + 1)).mean()
    value = 0.5 * bce + 0.5 * (1 - dice)
    yield "ignored pixels and Dice", {**sections, "criterion": "lab.losses.BCEDice"}, value


def nested() -> Iterator[WrongInput]:
    """Targets within targets, networks that return more than a tensor, data sets with unlucky attributes."""
    x, y = users.features(23)[TRAIN:], torch.arange(TRAIN, 23) % 3
    value = {"val_loss": float(F.cross_entropy(_logits(x), y))}
    for form in ("tensor", "dict", "tuple", "list", "deep", "number"):
        sections = {"task": "lab.tasks.Task", "net": mine("Fixed"), "criterion": "mine.first"}
        what = f"targets that are a {form}, beside attributes called sizes, sample and names"
        yield _right("nested", what, value, data=mine("nested", form=form), batch_size=4, **sections)
    x, y = users.classes()[1].tensors
    value = {"val_loss": float(F.cross_entropy(_logits(x), y))}
    usual = {**_ACCURACY, "data": mine("classes")}
    for form in ("out", "out and aux", "logits", "named", "one"):
        net = mine("Fixed", form=form)
        yield _right("nested", f"a network that returns {form}", value, **usual | {"net": net})
    refused = {"two": "a tuple", "other": "a dict", "list": "a list", "none": "a nonetype"}
    for form, kind in refused.items():
        net, word = mine("Fixed", form=form), f"the network returns {kind}"
        yield _wrong("nested", f"a network that returns {form}", word, **usual | {"net": net})


def streams() -> Iterator[WrongInput]:
    """An epoch of a stream has each sample once, whatever the number of workers."""
    x, y = users.features(23)[TRAIN:], torch.arange(TRAIN, 23) % 3
    # Every sample once, so the loss is that of the whole set in one batch.
    value = float(F.cross_entropy(_logits(x), y))
    expected = {"train_count": float(TRAIN), "val_count": 11.0, "val_loss": value}
    for sized in (True, False):
        for workers, shard in ((0, None), (1, None), (2, None), (2, True), (3, True), (2, "dataset")):
            loader: dict[str, object] = {"workers": workers} | ({} if shard is None else {"shard": shard})
            # Twelve samples in batches of eight; three workers have four each.
            length = {} if sized else {"steps_per_epoch": max(2, workers)}
            what = f"a stream {'with' if sized else 'without'} a length, {workers} workers, shard {shard}"
            data = mine("stream", sized=sized, shared=shard == "dataset")
            sections = {**_CLASSES, **length, "data": data, "loader": loader, "metrics": dict(COUNT)}
            yield _right("streams", what, expected, **sections)
    unknown = {**_CLASSES, "data": mine("stream", sized=False)}
    yield _wrong("streams", "a stream of unknown length", "set steps_per_epoch", **unknown)


def early() -> Iterator[WrongInput]:
    """Faults that show before training: schedules, last batches, types, lists, values not finite."""
    usual = {**_CLASSES, "data": mine("classes")}
    for epochs, steps in ((6, 11), (3, 5), (2, 3), (4, 1)):
        cycle = "torch.optim.lr_scheduler.OneCycleLR"
        schedule = {"target": cycle, "interval": "step", "max_lr": 0.1, "total_steps": steps}
        what, word = f"a schedule of {steps} steps for {epochs} epochs of two", f"the schedule has {steps}:"
        yield _wrong("early", what, word, **usual | {"scheduler": schedule, "epochs": epochs})
    what, word = "a last batch of one sample with batch norm", "the last training batch has one sample"
    yield _wrong("early", what, word, **usual | {"net": mine("Normed"), "batch_size": 11})
    whole = torch.utils.data.default_collate(list(users.in_lists()[1]))
    value = {"val_loss": float(F.cross_entropy(_logits(whole[0]), whole[1]))}
    yield _right("early", "the list of random_split", value, **usual | {"data": mine("in_lists")})
    regression = {"task": "lab.tasks.Regression", "net": mine("Fixed"), "criterion": "torch.nn.MSELoss"}
    for dtype in ("float64", "float16", "bfloat16"):
        x, y = users.numbers(dtype=dtype)[1].tensors
        value = {"val_loss": float(F.mse_loss(_logits(x), y))}
        yield _right("early", f"inputs of {dtype}", value, data=mine("numbers", dtype=dtype), **regression)
    for planted in (math.nan, math.inf, -math.inf):
        # Exit code 1: the run diverges, and a warning names the item.
        files = written(data=mine("numbers", planted=planted), **regression)
        yield WrongInput("early", f"{planted} in an input", files, {}, ("validation item 10",), code=1)
    narrow = regression | {"data": mine("numbers", outputs=2)}
    yield _wrong("early", "a target of another shape", "both must have one shape", **narrow)
    wide = {"target": "torch.nn.Linear", "in_features": 9, "out_features": 3}
    unfit = regression | {"data": mine("numbers"), "net": wide}
    yield _wrong("early", "a network of another width", "net: the first training batch failed", **unfit)


def _logits(x: Tensor) -> Tensor:
    return torch.as_tensor(users.Fixed()(x)).detach()
