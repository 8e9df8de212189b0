"""The hardware seam, as far as a CPU shows it."""

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from lab.config import ConfigError, RunConfig
from lab.train.runtime import Runtime, averaged


@pytest.fixture(autouse=True)
def _determinism_as_before() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def gpus(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "asked", "found"),
    [
        (0, False, "auto", "cpu"),
        (0, True, "auto", "mps:0"),
        (2, True, "auto", "cuda:0"),
        (2, False, "cuda", "cuda:0"),
        (2, False, "cuda:1", "cuda:1"),
        (0, True, "mps", "mps:0"),
        (2, False, "cpu", "cpu"),
    ],
)
def test_device(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, asked: str, found: str) -> None:
    gpus(monkeypatch, cuda, mps)
    assert str(Runtime(asked).device) == found
    assert str(Runtime(torch.device(asked) if asked != "auto" else asked).device) == found


@pytest.mark.parametrize(
    ("cuda", "asked", "says"),
    [
        (0, "cuda", "found 'cuda', and the available CUDA devices are: none; auto uses an available device"),
        (2, "cuda:2", "found 'cuda:2', and the available CUDA devices are: cuda:0 to cuda:1; auto uses"),
        (0, "mps", "found 'mps', which is not available on this machine; auto uses an available device"),
    ],
)
def test_a_device_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, cuda: int, asked: str, says: str
) -> None:
    gpus(monkeypatch, cuda)
    with pytest.raises(ConfigError) as caught:
        Runtime(asked)
    (problem,) = caught.value.problems
    assert problem.path == ("device",) and problem.message.startswith(says)


def test_from_config(config: Callable[..., RunConfig]) -> None:
    runtime = Runtime.from_config(
        config(precision="fp16", channels_last=True, deterministic=True, compile="eager")
    )
    assert runtime.scaler.is_enabled() and runtime.channels_last
    assert torch.are_deterministic_algorithms_enabled()
    assert type(runtime.forward(nn.Linear(1, 1))).__name__ == "OptimizedModule"
    plain = Runtime.from_config(config())
    assert not torch.are_deterministic_algorithms_enabled()
    model = nn.Linear(1, 1)
    assert plain.forward(model) is model


def test_threads_are_those_of_the_config(config: Callable[..., RunConfig]) -> None:
    before = torch.get_num_threads()
    try:
        Runtime.from_config(config(threads=3))
        assert torch.get_num_threads() == 3
        Runtime.from_config(config())
        assert torch.get_num_threads() == 3, "null leaves them as they are"
    finally:
        torch.set_num_threads(before)


def test_place_keeps_the_weights_and_lays_them_out() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    before = model[0].weight.clone()
    placed = Runtime("cpu", channels_last=True).place(model)
    assert placed is model and torch.equal(model[0].weight, before)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert Runtime("cpu").place(nn.Conv2d(3, 4, 3)).weight.is_contiguous()  # type: ignore[operator]


def on_meta(runtime: Runtime) -> Runtime:
    runtime.device = torch.device("meta")
    return runtime


def test_move_reaches_every_tensor_of_a_nested_batch() -> None:
    batch = [torch.ones(2), {"mask": (torch.ones(3), "name"), "n": 5}, [[torch.ones(1)]], None]
    moved = on_meta(Runtime("cpu")).move(batch)
    assert moved[0].device.type == moved[1]["mask"][0].device.type == moved[2][0][0].device.type == "meta"
    assert (moved[1]["mask"][1], moved[1]["n"], moved[3]) == ("name", 5, None)
    assert [t.shape for t in (moved[0], moved[1]["mask"][0], moved[2][0][0])] == [(2,), (3,), (1,)]


def test_move_copies_nothing_that_is_there() -> None:
    tensor = torch.rand(2, 3, 4, 5)
    assert Runtime("cpu").move([tensor])[0] is tensor
    image, mask, rows = Runtime("cpu", channels_last=True).move((tensor, torch.rand(2, 3, 4), torch.ones(2)))
    assert image.is_contiguous(memory_format=torch.channels_last) and torch.equal(image, tensor)
    assert mask.is_contiguous() and rows.is_contiguous()


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_autocast(precision: str, dtype: torch.dtype) -> None:
    runtime, model = Runtime("cpu", precision), nn.Linear(2, 2)
    for _ in range(2):  # the context can be used again
        with runtime.autocast():
            assert model(torch.ones(1, 2)).dtype == dtype
    assert model(torch.ones(1, 2)).dtype == torch.float32
    assert runtime.scaler.is_enabled() is (precision == "fp16")


def parameter(values: list[float]) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.tensor(values))
    return weight, torch.optim.SGD([weight], lr=1.0)


@pytest.mark.parametrize(
    ("clip", "measure", "norm", "step"),
    [
        (None, False, None, [3.0, 4.0]),
        (None, True, 5.0, [3.0, 4.0]),
        (10.0, False, 5.0, [3.0, 4.0]),
        (1.0, False, 5.0, [0.6, 0.8]),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_step_clips_to_the_norm(
    precision: str, clip: float | None, measure: bool, norm: float | None, step: list[float]
) -> None:
    runtime = Runtime("cpu", precision)
    weight, optimizer = parameter([0.0, 0.0])
    runtime.backward((weight * torch.tensor([3.0, 4.0])).sum())
    found = runtime.step(optimizer, clip, measure)
    assert (None if found is None else float(found)) == (None if norm is None else pytest.approx(norm))
    assert torch.allclose(weight.detach(), -torch.tensor(step), atol=1e-5)
    assert weight.grad is None


def test_norm_equals_torchs_over_all_groups() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    groups = [{"params": part.parameters()} for part in model]
    model(torch.rand(4, 3)).square().sum().backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
    norm = Runtime("cpu").step(torch.optim.SGD(groups, lr=0.1), 0.5)
    assert norm is not None and float(norm) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_scaler_skips_a_bad_step_and_lowers_its_scale(bad: float, clip: float | None) -> None:
    runtime = Runtime("cpu", "fp16")
    weight, optimizer = parameter([1.0, 2.0])
    runtime.backward((weight * torch.tensor([bad, 1.0])).sum())
    scale = runtime.scaler.get_scale()
    runtime.step(optimizer, clip)
    assert weight.tolist() == [1.0, 2.0] and weight.grad is None
    assert runtime.scaler.get_scale() == scale / 2
    runtime.backward(weight.sum())
    runtime.step(optimizer, clip)
    assert weight[0] < 1.0


def test_gradients_add_up_until_the_step() -> None:
    runtime = Runtime("cpu")
    weight, optimizer = parameter([0.0])
    for factor in (1.0, 2.0):
        runtime.backward((factor * weight).sum())
    runtime.step(optimizer)
    assert weight.tolist() == [-3.0]


def test_an_optimizer_clears_gradients_in_its_own_way() -> None:
    class Keeps(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            super().zero_grad(set_to_none=False)

    for optimizer_class, cleared in ((torch.optim.SGD, None), (Keeps, 0.0)):
        weight = nn.Parameter(torch.ones(1))
        optimizer = optimizer_class([weight], lr=0.5)
        (weight * 2).sum().backward()
        Runtime("cpu").step(optimizer)
        assert weight.item() == 0.0
        assert weight.grad is None if cleared is None else weight.grad is not None and weight.grad == cleared


def test_gradients_are_cleared_by_what_stands_in_for_an_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Around:
        """Another object in front of an optimizer, which passes on what it lacks."""

        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    weight, optimizer = parameter([3.0])
    (weight * 2).sum().backward()
    Runtime("cpu").step(cast(torch.optim.Optimizer, Around(optimizer)))
    assert weight.item() == 1.0 and weight.grad is None

    weight, optimizer = parameter([3.0])
    called: list[bool] = []
    monkeypatch.setattr(optimizer, "zero_grad", lambda set_to_none: called.append(set_to_none))
    Runtime("cpu").step(optimizer)
    assert called == [True]


def test_averaged_follows_weights_and_buffers() -> None:
    model = nn.BatchNorm1d(1)
    average = averaged(model, 0.75)
    values: list[Tensor] = []
    for value in (1.0, 3.0, 5.0):
        with torch.no_grad():
            model.weight.fill_(value)
            model.running_mean.fill_(10 * value)  # type: ignore[union-attr]
        average.update_parameters(model)
        values.append(average.module.weight.item())
    assert values == pytest.approx([1.0, 0.75 + 0.25 * 3, 0.75 * 1.5 + 0.25 * 5])
    assert average.module.running_mean.item() == pytest.approx(10 * values[-1])
    assert all(a is not b for a, b in zip(average.module.parameters(), model.parameters(), strict=True))


def test_state_of_the_scaler_travels() -> None:
    def state(runtime: Runtime) -> dict[str, Any]:
        return runtime.scaler.state_dict()

    first, second = Runtime("cpu", "fp16"), Runtime("cpu", "fp16")
    weight, optimizer = parameter([1.0])
    first.backward((weight * float("inf")).sum())
    first.step(optimizer)
    second.scaler.load_state_dict(state(first))
    assert state(second) == state(first) != state(Runtime("cpu", "fp16"))
    assert state(Runtime("cpu", "bf16")) == {}


@pytest.mark.parametrize(
    ("network", "given", "expected"),
    [
        (torch.float32, torch.float64, torch.float32),
        (torch.float64, torch.float32, torch.float64),
        (torch.float32, torch.float16, torch.float16),  # what the network makes of it is its own affair
        (torch.float32, torch.int64, torch.int64),
        (torch.bfloat16, torch.float64, torch.float64),
    ],
)
def test_float64_is_converted_to_the_networks_type(
    network: torch.dtype, given: torch.dtype, expected: torch.dtype
) -> None:
    runtime = Runtime("cpu")
    runtime.place_network(nn.Linear(2, 1).to(network))
    moved = runtime.move([{"x": torch.ones(2, dtype=given)}, torch.ones(2, dtype=given)])
    assert (moved[0]["x"].dtype, moved[1].dtype) == (expected, expected)
    assert len(runtime.remarks.take()) == (given != expected) and runtime.remarks.take() == []


def test_nothing_is_converted_without_a_network() -> None:
    assert Runtime("cpu").move(torch.ones(2, dtype=torch.float64)).dtype == torch.float64


def test_named_tuples_and_dataclasses_stay_what_they_are() -> None:
    from collections import namedtuple
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Boxes:
        corners: torch.Tensor
        name: str

    pair = namedtuple("pair", "left right")
    runtime = Runtime("cpu")
    runtime.place_network(nn.Linear(2, 1))
    moved = runtime.move((pair(torch.ones(1, dtype=torch.float64), 2), Boxes(torch.ones(1).double(), "a")))
    assert moved[0].left.dtype == moved[1].corners.dtype == torch.float32 and moved[1].name == "a"
