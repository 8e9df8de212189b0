"""The cost of networks: operations, parameters, bytes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference.masks import Rng
from benchmarks.reference.quantity import Pair, Quantity
from lab.evaluate.efficiency import addressed
from lab.evaluate.operation_counts import count_operations

_PRODUCTS = ("conv", "linear", "addmm", "matmul", "bmm")


def convolutional(rng: Rng) -> tuple[nn.Module, Tensor]:
    """Any stack of convolutions, with groups, strides, dilation and transposed ones, and a linear layer."""
    torch.manual_seed(int(rng.integers(2**31)))
    layers: list[nn.Module] = []
    channels = first = int(rng.choice([2, 4, 8]))
    for _ in range(int(rng.integers(1, 5))):
        after = int(rng.choice([2, 4, 8]))
        kind = nn.ConvTranspose2d if rng.random() < 0.3 else nn.Conv2d
        layers.append(
            kind(
                channels,
                after,
                int(rng.integers(1, 4)),
                stride=int(rng.integers(1, 3)),
                padding=int(rng.integers(0, 2)),
                groups=int(rng.choice([1, 2])),
                bias=bool(rng.random() < 0.5),
            )
        )
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
        channels = after
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, int(rng.integers(2, 9)))]
    size = int(rng.integers(16, 40))
    return nn.Sequential(*layers).eval(), torch.zeros(1, first, size, size)


def counted(model: nn.Module, image: Tensor) -> float:
    flops, uncounted = count_operations(lambda: model(image))
    return float("nan") if uncounted else flops


def by_fvcore(rng: Rng) -> Pair | None:
    """Twice its multiply-adds of products and convolutions."""
    from fvcore.nn import FlopCountAnalysis

    model, image = convolutional(rng)
    try:
        analysis = FlopCountAnalysis(model, image).unsupported_ops_warnings(False)
        found = analysis.uncalled_modules_warnings(False).by_operator()
    except RuntimeError:  # an image that is too small for the stack
        return None
    return counted(model, image), 2 * sum(found[name] for name in _PRODUCTS if name in found)


def attention(rng: Rng) -> Pair:
    """Encoders of any width, by torch's counter with attention as its two products."""
    heads = int(rng.choice([1, 2, 4]))
    width, tokens = heads * int(rng.integers(1, 9)), int(rng.integers(1, 30))
    layer = nn.TransformerEncoderLayer(width, heads, int(rng.integers(1, 40)), batch_first=True)
    model = nn.TransformerEncoder(layer, int(rng.integers(1, 4)), enable_nested_tensor=False).eval()
    x = torch.zeros(int(rng.integers(1, 4)), tokens, width)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(x)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counted(model, x), counter.get_total_flops()


def recurrent(gates: int, kind: Any) -> Callable[[Rng], Pair]:
    """Two operations a weight and step: gates · width · (inputs + width), in each layer and direction."""

    def draw(rng: Rng) -> Pair:
        inputs, width, layers = (int(rng.integers(1, 12)) for _ in range(3))
        layers = 1 + layers % 3
        both = int(rng.random() < 0.5)
        steps, batch = int(rng.integers(1, 9)), int(rng.integers(1, 5))
        model = kind(inputs, width, layers, bias=bool(rng.random() < 0.5), bidirectional=bool(both)).eval()
        weights = sum(
            gates * width * ((inputs if layer == 0 else width * (1 + both)) + width)
            for layer in range(layers)
        )
        return counted(model, torch.zeros(steps, batch, inputs)), 2 * steps * batch * (1 + both) * weights

    return draw


def memory(rng: Rng) -> Pair:
    """Bytes of distinct tensors, some of them tied, some of them not in the state_dict."""
    model, _ = convolutional(rng)
    size = int(rng.integers(1, 50))
    model.register_module("one", nn.Linear(size, size))
    model.register_module("two", nn.Linear(size, size))
    model.two.weight = model.one.weight  # type: ignore[union-attr]
    model.register_buffer("index", torch.zeros(size, dtype=torch.int64), persistent=False)
    tensors = {id(each): each for each in (*model.parameters(), *model.buffers())}.values()
    return addressed([*model.parameters(), *model.buffers()]), np.sum([each.nbytes for each in tensors])


QUANTITIES = (
    Quantity("operations of convolutions", "fvcore", by_fvcore, 0.0, 200),
    Quantity("operations of attention", "torch, as products", attention, 0.0, 200),
    Quantity("operations of LSTM", "by hand", recurrent(4, nn.LSTM), 0.0),
    Quantity("operations of GRU", "by hand", recurrent(3, nn.GRU), 0.0),
    Quantity("operations of RNN", "by hand", recurrent(1, nn.RNN), 0.0),
    Quantity("bytes of weights", "distinct tensors", memory, 0.0),
)
