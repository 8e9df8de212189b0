"""Modules are found in whatever holds them, each once and by a path."""

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.config.held_modules import beyond, held, modules_in

NETWORK = nn.Sequential(nn.Linear(2, 2), nn.Dropout())


class Holder:
    def __init__(self, **parts: Any) -> None:
        self.__dict__.update(parts)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).mean()


def inner() -> Any:
    teacher = NETWORK

    def loss(output: Tensor, target: Tensor) -> Tensor:
        result: Tensor = teacher(output).mean()
        return result

    return loss


def using(output: Tensor, target: Tensor) -> Any:
    return NETWORK(output)


@pytest.mark.parametrize(
    ("part", "paths"),
    [
        (NETWORK, [""]),
        (Holder(teacher=NETWORK), ["teacher"]),
        (Holder(teacher=NETWORK, same=NETWORK), ["teacher"]),
        (Holder(losses=[nn.L1Loss(), {"deep": NETWORK}]), ["losses.0", "losses.1.deep"]),
        (Holder(other=Holder(teacher=NETWORK)), []),  # someone else's
        (Holder(number=1, tensor=torch.ones(2), kind=nn.Linear, module=torch), []),
        (Holder(teacher=NETWORK).loss, ["self.teacher"]),
        (functools.partial(NETWORK), ["func"]),
        (functools.partial(print, 1, sep=NETWORK), ["sep"]),
        (inner(), ["teacher"]),
        (lambda output, target, teacher=NETWORK: teacher(output), ["teacher"]),
        (nn.functional.mse_loss, []),
        (using, []),
        (None, []),
        ({"val": {"mae": Holder(net=NETWORK)}}, ["val.mae.net"]),
    ],
)
def test_paths(part: Any, paths: list[str]) -> None:
    assert list(held(part)) == paths


def test_a_variable_without_a_value_yet() -> None:
    def outer() -> Any:
        def loss() -> Any:
            return later

        found = held(loss)
        later = NETWORK
        return found, later

    assert outer()[0] == {}


def test_an_object_that_holds_itself_ends() -> None:
    ring: list[Any] = [NETWORK]
    ring.append(ring)
    assert modules_in(Holder(ring=ring)) == [NETWORK]


def test_several_parts_give_each_module_once() -> None:
    loss = nn.L1Loss()
    assert modules_in(NETWORK, [loss, NETWORK], None) == [NETWORK, loss]


def test_modules_in_the_variables_of_a_file() -> None:
    assert beyond(using) == beyond(functools.partial(using, target=1)) == {"NETWORK": NETWORK}
    assert beyond(inner()) == beyond(NETWORK) == beyond(nn.functional.mse_loss) == beyond(None) == {}
