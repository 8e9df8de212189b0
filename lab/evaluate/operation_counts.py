"""Floating-point operations of a network, counted in one forward pass.

`torch.utils.flop_counter` covers the fused kernels of some processors and versions only, and counts unknown
operations as free: attention on a CPU and recurrent layers are then missing from a number that looks
complete. Here an operation either has a formula, or is known to cost little beside matrix products, or makes
the whole count unknown.
"""

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Arguments = Sequence[Any]  # of an operation: tensors, numbers and lists of them
Formula = Callable[[Arguments, Tensor], int | None]  # None where it depends on the tensors' values


def _product(left: int) -> Formula:
    """Matrix products whose factors are the arguments `left` and `left + 1`."""

    def count(args: Arguments, out: Tensor) -> int | None:
        a, b = args[left], args[left + 1]
        return int(2 * a.numel() * (b.shape[-1] if b.dim() > 1 else 1))

    return count


def _linear(args: Arguments, out: Tensor) -> int | None:
    """`input, weight, bias`, where it isn't taken apart into a product and a sum."""
    return int(2 * args[0].numel() * args[1].shape[0])


def _convolution(args: Arguments, out: Tensor) -> int | None:
    """`input, weight, bias, stride, padding, dilation, transposed, ...`; any groups and dimensions."""
    image, weight, transposed = args[0], args[1], args[6]
    places = image if transposed else out
    return int(2 * places.numel() * math.prod(weight.shape[1:]))


def _attention(args: Arguments, out: Tensor) -> int | None:
    """Query times keys, and the result times values, (N, heads, tokens, width) each; a mask saves nothing."""
    query, key, value = args[:3]
    rows, tokens = math.prod(query.shape[:-1]), key.shape[-2]
    return int(2 * rows * tokens * (query.shape[-1] + value.shape[-1]))


def _padded_attention(lengths: int) -> Formula:
    """The same of (N, tokens, heads, width).

    Sequences packed one after another are given by the argument `lengths`; their cost depends on its values.
    """

    def count(args: Arguments, out: Tensor) -> int | None:
        if args[lengths] is not None:
            return None
        return _attention([each.transpose(1, 2) for each in args[:3]], out)

    return count


def _recurrent(weights: Callable[[Arguments], Sequence[Tensor]]) -> Formula:
    """Every weight matrix is used once for each row of the input, (steps, N, features) or (rows, ...)."""

    def count(args: Arguments, out: Tensor) -> int | None:
        rows = math.prod(args[0].shape[:-1])
        return int(sum(2 * rows * each.numel() for each in weights(args) if each.dim() == 2))

    return count


FORMULAS: dict[str, Formula] = {
    **dict.fromkeys(("mm", "bmm", "mv", "dot", "vdot", "_scaled_mm"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv", "_addmm_activation"), _product(1)),
    "linear": _linear,
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
            "_scaled_dot_product_attention_math_for_mps",
        ),
        _attention,
    ),
    "_flash_attention_forward": _padded_attention(3),
    "_efficient_attention_forward": _padded_attention(4),
    "mkldnn_rnn_layer": _recurrent(lambda args: args[1:3]),
    "_cudnn_rnn": _recurrent(lambda args: args[1]),
    "miopen_rnn": _recurrent(lambda args: args[1]),
}
"""Operations of torch's `aten`, by name, without the `_` of those that work in place: from arguments and
result to floating-point operations, a multiplication and an addition being two."""

# A few operations for each number read or written: normalisation, pooling, resampling, padding, indexing,
# sums, softmax, sorting, random numbers, making and moving tensors. Elementwise operations and views carry
# marks of torch's own; those stand here as well whose marks came late.
_LIGHT = re.compile(
    r".*(batch|layer|group|instance|rms|vector|weight)_norm.*|norm|renorm|dist|trace|linalg_cross|addr"
    r"|_?(batch_norm|native_dropout|fused_dropout|bernoulli|dropout|pack_padded_sequence|rrelu_with_noise|prelu|glu|complex|channel_shuffle).*"
    r"|.*(avg|max)_(un)?pool[123]d.*|_?upsample_.*|_?(im2col|col2im|grid_sampler|affine_grid).*|pixel_(un)?shuffle"
    r"|.*_pad([123]d|_nd)|_?(pad|fill|zero|copy|clone|lift|alias|resize|set|to|reshape|view|unsafe|empty).*"
    r"|(new_)?(full|ones|zeros|eye|arange|linspace|logspace|scalar_tensor|rand|randn|randint|randperm)(_like)?"
    r"|.*_window|new_empty.*|_?(normal|uniform|exponential|log_normal|cauchy|geometric|poisson|multinomial|standard_gamma).*"
    r"|t|t_copy|_?(cat|stack|split|chunk|concat|unbind|narrow|slice|select|squeeze|unsqueeze|expand|repeat|tile|flip"
    r"|roll|rot90|transpose|permute|diag|diagonal|block_diag|unfold|as_strided|movedim|contiguous|pin_memory).*"
    r"|_?(index|gather|scatter|take|masked|where|nonzero|isin|embedding|one_hot|bucketize|searchsorted).*"
    r"|_?(sum|nansum|mean|prod|amax|amin|aminmax|max|min|argmax|argmin|all|any|std|var|std_mean|var_mean|median"
    r"|nanmedian|mode|kthvalue|count_nonzero|logsumexp|bincount|histc|segment_reduce|unique).*"
    r"|_?(cum|logcumsum|softmax|log_softmax|safe_softmax|log_sigmoid|sort|topk|argsort).*|tri[lu](_indices)?"
    r"|.*_loss(2d)?(_forward)?|binary_cross_entropy.*|_thnn_fused_(lstm|gru)_cell"
    r"|_?(assert|local_scalar|sym_|functional_|print|is_|dense_dim|sparse_dim|equal|allclose|item|record).*"
    r"|(add|sub|rsub|mul|div|neg|abs|exp|log|sqrt|rsqrt|pow|sin|cos|tanh|sigmoid|relu|leaky_relu|elu|selu|celu|gelu"
    r"|silu|mish|softplus|hardtanh|hardswish|hardsigmoid|threshold|clamp|lerp|addcmul|addcdiv|floor_divide"
    r"|maximum|minimum|eq|ne|lt|le|gt|ge|erf|floor|ceil|round|reciprocal|square|sign)"
)
_LIGHT_ELSEWHERE = {"prim::device", "prim::layout", "torchvision::nms", "torchvision::roi_align",
                    "torchvision::roi_pool"}  # fmt: skip
_DENSE = (torch.strided, torch._mkldnn)  # type: ignore[attr-defined]


class OperationCounter(TorchDispatchMode):
    """Counter of the operations that run within it.

    Computations outside of torch, in NumPy or in an extension that doesn't register its operations, are
    invisible to it.

    Args:
        flops: floating-point operations so far, a multiplication and an addition being two; those of
            elementwise work, normalisation and the like are left out.
        uncounted: names of operations that ran and may be expensive, but have no formula.
    """

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Arguments = (), kwargs: Mapping[str, Any] | None = None
    ) -> object:
        kwargs = kwargs or {}
        if not set(types) <= {Tensor, torch.nn.Parameter}:
            return NotImplemented  # by a class of its own, whose work on plain tensors comes here again
        if not isinstance(func, torch._ops.OpOverload):
            self.uncounted.add(str(func))
            return func(*args, **kwargs)
        name = func._schema.name
        space, _, short = name.partition("::")
        key = short.rstrip("_")
        formula = FORMULAS.get(key) if space == "aten" else None
        if formula is None:
            with self:  # in inference mode composite operations arrive whole
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        if formula is not None:
            tensors = [each for each in args if isinstance(each, Tensor)]
            dense = all(each.layout in _DENSE and not each.is_nested for each in tensors)
            count = formula(args, out) if dense else None
            if count is None:
                self.uncounted.add(name)
            else:
                # A product of complex numbers is four products and two sums, added up in two more.
                self.flops += count * (4 if any(each.is_complex() for each in tensors) else 1)
        elif not _light(func, name, key):
            self.uncounted.add(name)
        return out


def count_operations(run: Callable[[], object]) -> tuple[int, tuple[str, ...]]:
    """Return the floating-point operations of `run`, and the sorted names of uncounted ones.

    Fused transformer layers and compiled code are run by their single operations.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    counter = OperationCounter()
    as_written: AbstractContextManager[object] = nullcontext()
    if "torch._dynamo" in sys.modules:  # importing the compiler only to turn it off would take seconds
        as_written = torch.compiler.set_stance("force_eager")
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), as_written, counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.flops, tuple(sorted(counter.uncounted))


def _light(func: torch._ops.OpOverload, name: str, key: str) -> bool:
    if not name.startswith("aten::"):
        return name in _LIGHT_ELSEWHERE
    if key.endswith("_backward"):
        return torch.Tag.pointwise in func.tags
    return torch.Tag.pointwise in func.tags or func.is_view or _LIGHT.fullmatch(key) is not None
