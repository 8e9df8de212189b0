"""The user's own module, copied beside their config as `mine.py`: data, networks, losses, counters."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset, random_split

TRAIN = 12  # samples to train on; the others are for validation


class Bright(nn.Module):
    """Finds that what is bright is foreground: a logit a pixel from the mean of an image in [0, 1]."""

    def __init__(self, at: float = 0.4) -> None:
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at))

    def forward(self, x: Tensor) -> Tensor:
        return 40 * (x.mean(1, keepdim=True) - self.at)


class BrightClasses(nn.Module):
    """The network `Bright` with a logit for each of many classes, of which two occur."""

    def __init__(self, classes: int, dark: int, bright: int) -> None:
        super().__init__()
        self.at, self.classes = nn.Parameter(torch.tensor(0.4)), classes
        self.dark, self.bright = dark, bright

    def forward(self, x: Tensor) -> Tensor:
        logit = 40 * (x.mean(1) - self.at)
        logits = logit.new_full((len(x), self.classes, *logit.shape[1:]), -100.0)
        logits[:, self.dark], logits[:, self.bright] = -logit, logit
        return logits


class Fixed(nn.Module):
    """A linear map with fixed weights: (N, 4) to (N, outputs)."""

    def __init__(self, outputs: int = 3, form: str = "tensor") -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-0.5, 0.5, 4 * outputs).view(4, outputs))
        self.form = form

    def forward(self, x: Tensor) -> Any:
        out = x.to(self.w.dtype) @ self.w
        forms: dict[str, Callable[[], Any]] = {
            "tensor": lambda: out,
            "out": lambda: {"out": out},
            "out and aux": lambda: {"out": out, "aux": out * 0},
            "logits": lambda: {"logits": out},
            "named": lambda: Answer(out),
            "one": lambda: (out,),
            "two": lambda: (out, out * 0),
            "other": lambda: {"left": out, "right": out * 0},
            "list": lambda: [out, out * 0, out * 0],
            "none": lambda: None,
        }
        return forms[self.form]()


class Answer(NamedTuple):
    """A network's output in the way of a well-known library."""

    logits: Tensor


class Count:
    """The number of samples that a pass has seen."""

    def reset(self) -> None:
        self.count = torch.zeros(())

    def update(self, prediction: Tensor, target: object) -> None:
        self.count = self.count + len(prediction)

    def compute(self) -> Tensor:
        return self.count


def features(count: int) -> Tensor:
    """Random numbers that are the same each time: (count, 4)."""
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0))


def split(x: Tensor, y: Tensor) -> tuple[TensorDataset, TensorDataset]:
    """The first samples to train on, the others for validation."""
    return TensorDataset(x[:TRAIN], y[:TRAIN]), TensorDataset(x[TRAIN:], y[TRAIN:])


def classes(
    planted: int | None = None, at: int = -1, where: str = "val"
) -> tuple[TensorDataset, TensorDataset]:
    """Classes by turns, one of them replaced: by `planted`, in the item `at` of a set."""
    y = torch.arange(22) % 3
    if planted is not None:
        y[TRAIN + at % (len(y) - TRAIN) if where == "val" else at % TRAIN] = planted
    return split(features(22), y)


def typed(kind: str) -> tuple[TensorDataset, TensorDataset]:
    """Classes in another form than whole numbers of 64 bits."""
    y = torch.arange(22) % 3
    hot = nn.functional.one_hot(y, 3).float()
    two = hot.clone()
    two[:, 0] = 1.0
    forms = {
        "int32": y.int(), "uint8": y.to(torch.uint8), "float": y.float(), "half": y.float() + 0.5,
        "one-hot": hot, "multi-hot": two, "no-hot": hot * (y > 0)[:, None], "column": y[:, None],
        "one-hot int": hot.long(), "shares": (hot + 1) / 4, "parts": (hot + 1) / 6, "percent": hot * 100,
        "nan": hot * math.nan,
    }  # fmt: skip
    return split(features(22), forms[kind])


def masks(
    high: float = 1.0, low: float = 0.0, extra: float | None = None, at: int = 0, where: str = "val",
    dtype: str = "float32", channel: bool = True,
) -> tuple[TensorDataset, TensorDataset]:  # fmt: skip
    """Bright squares and their masks of the values `low` and `high`; one pixel is `extra`."""
    draw = torch.Generator().manual_seed(0)
    x, mask = torch.rand(20, 3, 16, 16, generator=draw) * 0.3, torch.full((20, 1, 16, 16), low)
    for index, left in enumerate(torch.randint(1, 8, (20,), generator=draw).tolist()):
        x[index, :, left : left + 7, left : left + 7] += 0.5
        mask[index, :, left : left + 7, left : left + 7] = high
    if extra is not None:
        mask[(TRAIN + at % 8) if where == "val" else at % TRAIN, 0, 0, 0] = extra
    mask = mask.to(getattr(torch, dtype))
    return split(x, mask if channel else mask[:, 0])


def numbers(
    outputs: int = 3, planted: float | None = None, dtype: str = "float32"
) -> tuple[TensorDataset, TensorDataset]:
    """Numbers to predict; the last input of the validation set holds `planted`."""
    x, y = features(23), torch.linspace(-1, 2, 23 * outputs).view(23, outputs)
    if planted is not None:
        x[-1, 1] = planted
    return split(x.to(getattr(torch, dtype)), y)


def labels() -> tuple[TensorDataset, TensorDataset]:
    """Several labels a sample, of 0 and 1."""
    return split(features(23), (torch.arange(23 * 3) * 7 % 5 < 2).float().view(23, 3))


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """A stream without a length."""

    def __init__(self, x: Tensor, y: Tensor, shared: bool) -> None:
        self.x, self.y, self.shared = x, y, shared

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        first, step = (worker.id, worker.num_workers) if self.shared and worker is not None else (0, 1)
        return iter(list(zip(self.x, self.y, strict=True))[first::step])


class Sized(Stream):
    """A stream that has one."""

    def __len__(self) -> int:
        return len(self.x)


def stream(sized: bool = True, shared: bool = False) -> tuple[Stream, Stream]:
    """Classes as a stream; `shared`: each worker reads its own part."""
    kind = Sized if sized else Stream
    x, y = features(23), torch.arange(23) % 3
    return kind(x[:TRAIN], y[:TRAIN], shared), kind(x[TRAIN:], y[TRAIN:], shared)


class Nested(Dataset[tuple[Tensor, object]]):
    """Targets that are mappings, lists or tuples of tensors, and attributes with unlucky names."""

    sizes = (3, 1, 2)
    sample = "mean"
    names = 7
    samples = None

    def __init__(self, begin: int, end: int, form: str) -> None:
        self.x, self.y, self.form = features(end)[begin:], torch.arange(begin, end) % 3, form

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, object]:
        y = self.y[index]
        forms = {
            "tensor": y, "dict": {"a": y, "b": y}, "tuple": (y, y), "list": [y, y],
            "deep": {"a": {"b": [y, y]}, "c": (y,)}, "number": int(y),
        }  # fmt: skip
        return self.x[index], forms[self.form]


def nested(form: str) -> tuple[Nested, Nested]:
    """Classes in nested targets."""
    return Nested(0, TRAIN, form), Nested(TRAIN, 23, form)


def first(output: Tensor, target: Any) -> Tensor:
    """The cross entropy of the first tensor of a nested target: a custom loss."""
    while not isinstance(target, Tensor):
        target = next(iter(target.values())) if isinstance(target, dict) else target[0]
    return nn.functional.cross_entropy(output, target)


def in_lists() -> list[Any]:
    """The result of `random_split`: a list, and no tuple."""
    whole = TensorDataset(features(22), torch.arange(22) % 3)
    return random_split(whole, [TRAIN, 22 - TRAIN], torch.Generator().manual_seed(0))


class Attend(nn.Module):
    """An attention layer, whose heads must divide its width."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        super().__init__()
        self.up, self.out = nn.Linear(4, width), nn.Linear(width, 3)
        self.mix = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        h = self.up(x)[:, None]
        return self.out(self.mix(h, h, h)[0][:, 0])


class Normed(nn.Module):
    """A network with batch norm, for which one sample is no batch."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.norm, self.out = nn.BatchNorm1d(4), nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Any:
        return self.out(self.norm(x))


class Flat(nn.Module):
    """A linear classifier of small images."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        if classes != 3:
            raise ValueError(f"three classes were written, and {classes} were found")
        self.out = nn.Linear(192, 3)

    def forward(self, x: Tensor) -> Any:
        return self.out(x.flatten(1))


class Picky(Attend):
    """The layer `Attend`, which reports that a pair of numbers can't be built."""

    def __init__(self, width: int = 16, heads: int = 2) -> None:
        if width % heads:
            import optuna

            raise optuna.TrialPruned(f"{heads} heads don't divide a width of {width}")
        super().__init__(width, heads)
