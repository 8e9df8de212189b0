from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.losses.targets import Unfit
from lab.tasks import Classification, Regression, Segmentation, Task
from lab.tasks.network_outputs import OneTensor, tensor_of
from lab.train.evaluation import evaluate
from lab.train.runtime import Runtime
from util import Trainer

InceptionOutputs = namedtuple("InceptionOutputs", "logits aux_logits")
one, two = torch.tensor([1.0]), torch.tensor([2.0])


class ModelOutput(OrderedDict[str, Any]):
    """As that of transformers: a mapping with attributes."""


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor | None = None


@pytest.mark.parametrize(
    ("output", "others"),
    [
        (one, ()),
        (OrderedDict(out=one), ()),
        (OrderedDict(out=one, aux=two), ("aux",)),
        (ModelOutput(logits=one, hidden_states=(two,)), ("hidden_states",)),
        (InceptionOutputs(one, two), ("aux_logits",)),
        (InceptionOutputs(one, None), ()),
        (Answer(one), ()),
        (Answer(one, two), ("hidden",)),
        ({"scores": one}, ()),
        ((one,), ()),
    ],
)
def test_the_one_tensor_that_is_meant(output: Any, others: tuple[str, ...]) -> None:
    assert tensor_of(output) == (one, others)
    assert OneTensor(lambda x: output)(two) is one


@pytest.mark.parametrize(
    ("output", "listed"),
    [
        ((one, two), r"tuple \(0: \(1,\), 1: \(1,\)\)"),
        ({"a": one, "b": two}, r"dict \(a: \(1,\), b: \(1,\)\)"),
        ({"out": one, "logits": two}, "dict"),
        ({"out": "text"}, "dict"),
        ({}, r"dict \(no tensors\)"),
        (None, "NoneType"),
    ],
)
def test_which_is_meant_is_not_guessed(output: Any, listed: str) -> None:
    with pytest.raises(Unfit, match=f"the network returns a {listed}.*wrap the network"):
        tensor_of(output)


class Named(nn.Module):
    """A convolution whose logits come with others, as in torchvision's networks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return OrderedDict(out=self.conv(x), aux=-self.conv(x))


def test_the_same_figures_as_without_a_name() -> None:
    network, runtime = Named(), Runtime("cpu")
    batch = (torch.rand(2, 1, 40, 40), (torch.rand(2, 1, 40, 40) > 0.5).float())
    task = Segmentation(tile=32, overlap=0)
    named, plain = (
        evaluate(each, [batch], task=task, criterion=nn.BCEWithLogitsLoss(), runtime=runtime, metrics={})
        for each in (network, network.conv)
    )
    assert named == plain
    assert torch.equal(task.infer(network, batch[0]), task.infer(network.conv, batch[0]))
    assert task.remarks.take() == ["the network returns more than one output: aux is not used in the loss"]


@pytest.mark.parametrize("task", [Classification(), Regression(), Task()])
def test_training_takes_it_too(task: Task) -> None:
    model = nn.Linear(2, 2)
    trainer = Trainer(
        Wrapped(model), torch.optim.SGD(model.parameters(), lr=0.1), None, nn.CrossEntropyLoss(), task=task
    )
    target = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    batch = (torch.rand(2, 2), target)
    expected = nn.functional.cross_entropy(model(batch[0]), target)
    assert trainer.train_epoch([batch]) == pytest.approx(float(expected.detach()))


class Wrapped(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.inner(x))


def test_a_loss_of_ones_own_gets_what_the_network_returns() -> None:
    seen: list[Any] = []

    def loss(output: Any, target: Any) -> Tensor:
        seen.append(output)
        return output["a"].mean()

    result = Task().step(lambda x: {"a": x, "b": x}, loss, (torch.ones(2), torch.ones(2)))
    assert seen[0] is result.output and set(result.output) == {"a", "b"}
