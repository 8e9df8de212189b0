"""Counts beside formulas by hand, and what makes a count unknown."""

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from lab.evaluate.operation_counts import FORMULAS, count_operations


def counted(run: Callable[[], object]) -> int:
    """The operations of what can be counted."""
    flops, uncounted = count_operations(run)
    assert uncounted == ()
    return flops


def tokens(*shape: int) -> Tensor:
    return torch.zeros(*shape)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(6, 5), (2, 3, 6), 2 * 6 * 6 * 5),
        (nn.Conv1d(4, 6, 3, groups=2), (1, 4, 10), 2 * 8 * 6 * 2 * 3),
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 8, 8), 2 * 2 * 16 * 6 * 4 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, dilation=2), (1, 4, 8, 8), 2 * 16 * 4 * 9),
        (nn.Conv3d(2, 3, 2), (1, 2, 4, 4, 4), 2 * 27 * 3 * 2 * 8),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 2 * 25 * 4 * 6 * 4),
    ],
)
def test_linear_layers_and_convolutions(layer: nn.Module, shape: tuple[int, ...], expected: int) -> None:
    assert counted(lambda: layer(tokens(*shape))) == expected


def test_in_inference_mode_as_well() -> None:
    """Operations that are made of others arrive whole there."""
    layer = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 2, bias=False))
    with torch.inference_mode():
        assert counted(lambda: layer(tokens(3, 6))) == 2 * 3 * (6 * 5 + 5 * 2)


def test_products() -> None:
    a, b, square = tokens(3, 4), tokens(4, 5), tokens(4, 4)
    assert counted(lambda: a @ b) == 2 * 3 * 4 * 5
    assert counted(lambda: a @ b[:, 0]) == 2 * 3 * 4
    assert counted(lambda: torch.dot(a[0], b[:, 0])) == 2 * 4
    assert counted(lambda: torch.baddbmm(tokens(2, 3, 5), a.expand(2, 3, 4), b.expand(2, 4, 5))) == 2 * 2 * 60
    assert counted(lambda: torch.einsum("nij,njk->nik", tokens(7, 3, 4), tokens(7, 4, 5))) == 2 * 7 * 60
    assert counted(lambda: square.addmm_(square, square)) == 2 * 64
    assert counted(lambda: a.to(torch.complex64) @ b.to(torch.complex64)) == 8 * 60


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_is_its_two_products(dtype: torch.dtype, backend: SDPBackend, causal: bool) -> None:
    query, key, value = (torch.zeros(2, 3, length, 16, dtype=dtype) for length in (5, 5, 5))
    with sdpa_kernel(backend):
        found = counted(lambda: F.scaled_dot_product_attention(query, key, value, is_causal=causal))
    assert found == 2 * (2 * 3) * 5 * 5 * (16 + 16)


def test_attention_of_unequal_lengths_and_widths() -> None:
    query, key, value = tokens(2, 6, 5, 16), tokens(2, 6, 7, 16), tokens(2, 6, 7, 8)
    expected = 2 * (2 * 6) * 5 * 7 * (16 + 8)
    assert counted(lambda: F.scaled_dot_product_attention(query, key, value)) == expected
    few = key[:, :2], value[:, :2]  # three heads of queries share one of keys
    assert counted(lambda: F.scaled_dot_product_attention(query, *few, enable_gqa=True)) == expected


def test_attention_layers() -> None:
    width, heads, length, hidden = 16, 2, 10, 32
    attention = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    x = tokens(1, length, width)
    by_hand = 2 * 4 * length * width**2 + 2 * 2 * length**2 * width
    for weights in (False, True):
        assert counted(lambda: attention(x, x, x, need_weights=weights)) == by_hand  # noqa: B023
    layer = nn.TransformerEncoderLayer(width, heads, hidden, batch_first=True).eval()
    encoder = nn.TransformerEncoder(layer, 3).eval()
    empty = torch.zeros(1, length, dtype=torch.bool)
    expected = 3 * (by_hand + 2 * 2 * length * width * hidden)
    assert counted(lambda: encoder(x)) == expected
    assert counted(lambda: encoder(x, src_key_padding_mask=empty)) == expected


def test_a_vision_transformer_of_timm() -> None:
    """Patches, 12 blocks of 192 features over 197 tokens, and a head of 5 classes."""
    network = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=5).eval()
    length, width = 197, 192
    block = 2 * 12 * length * width**2 + 2 * 2 * length**2 * width
    patches, head = 2 * 196 * 3 * 16 * 16 * width, 2 * width * 5
    assert counted(lambda: network(tokens(1, 3, 224, 224))) == patches + 12 * block + head == 2_506_984_320


@pytest.mark.parametrize("gates_and_layer", [(4, nn.LSTM), (3, nn.GRU), (1, nn.RNN)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("mkldnn", [True, False])
def test_recurrent_layers(
    gates_and_layer: tuple[int, type[nn.RNNBase]], bias: bool, directions: int, mkldnn: bool
) -> None:
    gates, kind = gates_and_layer
    layer = kind(6, 8, num_layers=2, bias=bias, bidirectional=directions == 2, batch_first=True).eval()
    first, second = gates * 8 * (6 + 8), gates * 8 * (8 * directions + 8)
    with torch.backends.mkldnn.flags(enabled=mkldnn):
        assert counted(lambda: layer(tokens(3, 5, 6))) == 2 * 15 * directions * (first + second)


def test_recurrent_cells_projections_and_packed_sequences() -> None:
    assert counted(lambda: nn.LSTMCell(6, 8)(tokens(3, 6))) == 2 * 3 * 4 * 8 * 14
    projected = nn.LSTM(6, 8, proj_size=2)
    assert counted(lambda: projected(tokens(5, 3, 6))) == 2 * 15 * (4 * 8 * (6 + 2) + 8 * 2)
    packed = nn.utils.rnn.pack_padded_sequence(tokens(5, 2, 6), torch.tensor([5, 3]))
    assert counted(lambda: nn.GRU(6, 8)(packed)) == 2 * 8 * 3 * 8 * 14


def test_other_layers_cost_nothing_beside_these() -> None:
    layers = nn.Sequential(
        nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.GELU(), nn.SiLU(), nn.PReLU(),
        nn.MaxPool2d(2, 1), nn.AvgPool2d(3, 1), nn.AdaptiveAvgPool2d(4), nn.Upsample(scale_factor=2),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.ReflectionPad2d(1), nn.PixelUnshuffle(3),
        nn.Dropout(), nn.Softmax(1), nn.Flatten(), nn.LayerNorm(1296), nn.RMSNorm(1296), nn.GLU(),
    )  # fmt: skip
    assert counted(lambda: layers.eval()(tokens(1, 4, 8, 8))) == 0
    table = nn.Embedding(5, 4)
    chosen = torch.tensor([[1, 2]])
    assert counted(lambda: table(chosen).cumsum(1).sort(1).values.topk(1, 1)) == 0
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 1, 4, 4], align_corners=False)
    assert counted(lambda: F.grid_sample(tokens(1, 1, 4, 4), grid, align_corners=False)) == 0
    assert counted(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))(tokens(1, 3))) == 2 * 6


@torch.library.custom_op("example::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    return 2 * x


@pytest.mark.parametrize(
    ("run", "name"),
    [
        (lambda: torch.fft.rfft(tokens(4, 4)), "aten::_fft_r2c"),
        (lambda: torch.linalg.inv(torch.eye(4)), "aten::linalg_inv_ex"),
        (lambda: torch.cdist(tokens(2, 3), tokens(4, 3)), "aten::_cdist_forward"),
        (lambda: torch.eye(4).to_sparse_csr() @ tokens(4, 4), "aten::mm"),
        (lambda: nn.Bilinear(3, 4, 5)(tokens(2, 3), tokens(2, 4)), "aten::_trilinear"),
        (lambda: twice(tokens(3)), "example::twice"),
    ],
)
def test_what_has_no_formula_is_named(run: Callable[[], object], name: str) -> None:
    def both() -> None:
        _ = tokens(3, 4) @ tokens(4, 5)
        run()

    flops, uncounted = count_operations(both)
    assert flops >= 2 * 60 and name in uncounted


def test_compiled_networks_are_counted_as_they_were_written() -> None:
    network = torch.compile(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), backend="eager")
    assert counted(lambda: network(tokens(3, 6))) == 2 * 3 * 6 * 5


@pytest.mark.parametrize("warm", [0, 1, 3])
def test_scripted_networks(warm: int) -> None:
    """After a few passes their interpreter runs another, optimized graph."""
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    scripted = torch.jit.script(network)
    for _ in range(warm):
        scripted(tokens(3, 6))
    assert counted(lambda: scripted(tokens(3, 6))) == 2 * 3 * (6 * 5 + 5 * 2)


class Wrapped(Tensor):
    """A tensor class that works on the plain tensor within it."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Wrapped":
        made: Wrapped = Tensor._make_wrapper_subclass(cls, inner.shape)  # type: ignore[attr-defined]
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = [each.inner if isinstance(each, Wrapped) else each for each in args]
        return cls(func(*plain, **(kwargs or {})))


def test_tensor_classes_are_counted_by_what_they_do() -> None:
    assert counted(lambda: Wrapped(tokens(3, 4)) @ Wrapped(tokens(4, 5))) == 2 * 60


def test_the_fused_transformer_is_as_before_afterwards() -> None:
    def broken() -> None:
        assert not torch.backends.mha.get_fastpath_enabled()
        raise OSError("no image")

    with pytest.raises(OSError, match="no image"):
        count_operations(broken)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mm", ["self", "mat2"]),
        ("bmm", ["self", "mat2"]),
        ("addmm", ["self", "mat1", "mat2"]),
        ("baddbmm", ["self", "batch1", "batch2"]),
        ("addmv", ["self", "mat", "vec"]),
        ("_addmm_activation", ["self", "mat1", "mat2"]),
        ("linear", ["input", "weight", "bias"]),
        ("convolution", ["input", "weight", "bias", "stride", "padding", "dilation", "transposed"]),
        ("_convolution", ["input", "weight", "bias", "stride", "padding", "dilation", "transposed"]),
        ("_scaled_dot_product_flash_attention", ["query", "key", "value"]),
        ("_scaled_dot_product_flash_attention_for_cpu", ["query", "key", "value"]),
        ("_scaled_dot_product_efficient_attention", ["query", "key", "value"]),
        ("_scaled_dot_product_cudnn_attention", ["query", "key", "value"]),
        ("_scaled_dot_product_attention_math_for_mps", ["query", "key", "value"]),
        ("_flash_attention_forward", ["query", "key", "value", "cum_seq_q"]),
        ("_efficient_attention_forward", ["query", "key", "value", "bias", "cu_seqlens_q"]),
        ("mkldnn_rnn_layer", ["input", "weight0", "weight1"]),
        ("_cudnn_rnn", ["input", "weight"]),
        ("miopen_rnn", ["input", "weight"]),
    ],
)
def test_arguments_stand_where_the_formulas_look(name: str, arguments: list[str]) -> None:
    """Also those of processors that these tests don't run on."""
    schema = getattr(torch.ops.aten, name).default._schema
    assert [each.name for each in schema.arguments[: len(arguments)]] == arguments
    assert name in FORMULAS


def test_formulas_of_other_processors() -> None:
    layer = nn.LSTM(6, 8, num_layers=2, bidirectional=True, proj_size=3)
    steps, first, second = 5 * 2, 6 + 3, 2 * 3 + 3
    by_hand = 2 * steps * 2 * (4 * 8 * (first + second) + 2 * 8 * 3)
    assert FORMULAS["_cudnn_rnn"]([tokens(5, 2, 6), list(layer.parameters())], None) == by_hand
    query, key = tokens(2, 5, 3, 16), tokens(2, 7, 3, 16)  # tokens before heads
    products = 2 * (2 * 3) * 5 * 7 * (16 + 16)
    assert FORMULAS["_flash_attention_forward"]([query, key, key, None], None) == products
    assert FORMULAS["_efficient_attention_forward"]([query, key, key, None, None], None) == products
    packed = torch.tensor([0, 2, 5])
    assert FORMULAS["_flash_attention_forward"]([query[0], key[0], key[0], packed], None) is None
