"""The common task: which part of a batch is what."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lab.losses.targets import Unfit
from lab.metrics import MAE
from lab.tasks import Classification, Samples, StepResult, Task
from lab.tasks.base import array
from lab.train.evaluation import evaluate
from lab.train.runtime import Runtime


def add(a: Tensor, b: Tensor) -> Tensor:
    return a + b


def test_all_but_the_last_are_inputs() -> None:
    batch = (torch.ones(3, 1), torch.full((3, 1), 2.0), torch.zeros(3, 1))
    result = Task().step(add, nn.functional.mse_loss, batch)
    assert (float(result.loss), result.size) == (9.0, 3)
    assert torch.equal(result.output, torch.full((3, 1), 3.0)) and result.target is batch[2]
    assert result.parts == {}


def test_a_list_is_a_batch_too() -> None:
    assert float(Task().step(nn.Identity(), nn.functional.mse_loss, [torch.ones(2), torch.ones(2)]).loss) == 0


def test_named_losses_are_summed_with_their_graph() -> None:
    weight = nn.Parameter(torch.tensor(2.0))

    def losses(output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"near": (output - target).mean(), "size": 3 * output.mean()}

    result = Task().step(lambda x: x * weight, losses, (torch.ones(4), torch.zeros(4)))
    assert float(result.loss.detach()) == 8.0
    assert {name: float(part.detach()) for name, part in result.parts.items()} == {"near": 2.0, "size": 6.0}
    result.loss.backward()
    assert weight.grad is not None and float(weight.grad) == 4.0


def test_metrics_see_predictions_without_a_graph() -> None:
    class Doubled(Task):
        def predict(self, output: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return 2 * output

    metric = MAE()
    output = nn.Parameter(torch.ones(2, 1))
    Doubled().update({"mae": metric}, StepResult(torch.tensor(0.0), output, torch.zeros(2, 1), 2))
    assert float(metric.compute()) == 2.0 and not metric.compute().requires_grad


def test_without_metrics_nothing_is_predicted() -> None:
    class Refuses(Task):
        def predict(self, output: Tensor) -> Tensor:
            raise AssertionError

    Refuses().update({}, StepResult(torch.tensor(0.0), None, None, 1))


def test_has_no_picture_of_its_own(tmp_path: Path) -> None:
    samples = Samples([torch.ones(1)], torch.ones(1), torch.ones(1))
    assert Task().draw(samples, tmp_path / "a.png", "") is False and Task().panel(samples) is None
    assert list(tmp_path.iterdir()) == [] and Task().pictured is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_array_is_float32(dtype: torch.dtype) -> None:
    result = array(torch.tensor([0, 1]).to(dtype))
    assert result.dtype == "float32" and result.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("criterion", "message"),
    [
        (nn.GaussianNLLLoss(), "GaussianNLLLoss is called with (input, target, var)"),
        (nn.CTCLoss(), "CTCLoss is called with (log_probs, targets, input_lengths, target_lengths)"),
        (nn.functional.triplet_margin_loss, "triplet_margin_loss is called with (anchor, positive, negative"),
    ],
)
def test_a_loss_of_more_than_output_and_target(criterion: Any, message: str) -> None:
    with pytest.raises(Unfit) as caught:
        Task().require_criterion(criterion)
    assert message in str(caught.value)

    class Own(Task):
        def step(self, model: Any, criterion: Any, batch: Any) -> StepResult:
            raise NotImplementedError

    Own().require_criterion(criterion)  # its step may know how to call it


@pytest.mark.parametrize(
    "criterion",
    [nn.MSELoss(), nn.functional.cross_entropy, lambda *parts: parts[0], torch.dist, partial(add, b=1)],
)
def test_a_loss_of_output_and_target(criterion: Any) -> None:
    if isinstance(criterion, partial):
        with pytest.raises(Unfit, match=r"partial is called with \(a, b\)"):
            Task().require_criterion(criterion)
    else:
        Task().require_criterion(criterion)


def test_a_step_may_name_the_inputs_of_its_network() -> None:
    """As networks that compute their own loss are called, in training and, by `evaluate`, in validation."""

    class Named(Task):
        def step(self, model: Any, criterion: Any, batch: Any) -> StepResult:
            loss, output = model(**batch)
            return StepResult(loss, output, batch["labels"], len(batch["labels"]))

    def network(x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return nn.functional.mse_loss(x, labels), x

    class Network(nn.Module):
        def forward(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            return network(x, labels)

    batches = [{"x": torch.ones(n, 1), "labels": torch.full((n, 1), 3.0 + n)} for n in (1, 3)]
    found = evaluate(
        Network(), batches, task=Named(), criterion=network, runtime=Runtime("cpu"), metrics={"mae": MAE()}
    )
    assert found == {"loss": pytest.approx((9 + 3 * 25) / 4), "mae": pytest.approx((3 + 3 * 5) / 4)}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (["cat", "dog"], "the target is a list of str, and CrossEntropyLoss takes one tensor"),
        ({"a": torch.zeros(2)}, "the target is a dict, and CrossEntropyLoss takes one tensor"),
        ([torch.zeros(2), torch.zeros(3)], "the target is a list of Tensor, and"),
    ],
)
@pytest.mark.parametrize("task", [Task(), Classification()])
def test_a_target_that_is_no_tensor(task: Task, target: Any, message: str) -> None:
    with pytest.raises(Unfit, match=message):
        task.step(nn.Identity(), nn.CrossEntropyLoss(), (torch.zeros(2, 3), target))
