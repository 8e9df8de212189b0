"""What a pass over a loader adds up to, against closed forms and plain loops."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lab import checkpoint
from lab.events import Callback, CallbackList, PhaseStart, StepsDone
from lab.metrics import MAE, Accuracy
from lab.tasks import Classification, Segmentation, StepResult, Task
from lab.train import evaluation
from lab.train.evaluation import EpochMetrics, NotFinite, ProgressReporter, SamplePredictions, evaluate
from lab.train.runtime import Runtime

NAN, INF = math.nan, math.inf


def result(loss: float, size: int = 1, **parts: float) -> StepResult:
    named = {name: torch.tensor(value) for name, value in parts.items()}
    return StepResult(torch.tensor(loss), torch.zeros(size), torch.zeros(size), size, named)


def tally(losses: list[float], norms: list[float] | None = None) -> EpochMetrics:
    filled = EpochMetrics(Task(), {}, "train loss")
    for loss in losses:
        filled.add(result(loss))
    for norm in norms or []:
        filled.add_norm(torch.tensor(norm))
    return filled


batches = st.lists(
    st.tuples(st.floats(-100, 100, width=32), st.integers(1, 64), st.booleans()), min_size=1, max_size=20
)


@settings(max_examples=60, deadline=None)
@given(batches)
def test_means_are_over_samples_however_often_they_are_read(steps: list[tuple[float, int, bool]]) -> None:
    filled = EpochMetrics(Task(), {})
    pending: list[tuple[float, int]] = []
    for loss, size, read in steps:
        filled.add(result(loss, size, near=loss / 2, far=-loss))
        pending.append((loss, size))
        if read:
            mean = sum(x * n for x, n in pending) / sum(n for _, n in pending)
            assert filled.read() == pytest.approx(mean, rel=1e-9, abs=1e-9)
            pending = []
    samples = sum(size for _, size, _ in steps)
    mean = sum(loss * size for loss, size, _ in steps) / samples
    expected = {"loss": mean, "loss_near": mean / 2, "loss_far": -mean}
    assert filled.values() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert filled.values() == pytest.approx(expected, rel=1e-6, abs=1e-9)  # a second time
    assert (filled.samples, filled.steps) == (samples, len(steps))


def test_nothing_to_read() -> None:
    empty = EpochMetrics(Task(), {"mae": MAE()})
    assert math.isnan(empty.read()) and (empty.samples, empty.steps) == (0, 0)
    with pytest.raises(ValueError, match="there is no loss: the loader is empty"):
        empty.values()


def test_a_long_sum_of_small_losses_stays_exact() -> None:
    filled = tally([0.1] * 3000)
    assert filled.values()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-12)


def test_metrics_begin_afresh_and_see_predictions() -> None:
    accuracy = Accuracy()
    for _ in range(2):
        filled = EpochMetrics(Classification(), {"accuracy": accuracy})
        logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
        filled.add(StepResult(torch.tensor(1.0), logits, torch.tensor([0, 1, 1]), 3))
        filled.add(StepResult(torch.tensor(1.0), logits[:1], torch.tensor([0]), 1))
        assert filled.values() == pytest.approx({"loss": 1.0, "accuracy": 0.75})


def test_losses_hold_no_graph() -> None:
    weight = nn.Parameter(torch.ones(1))
    filled = EpochMetrics(Task(), {})
    filled.add(StepResult((2 * weight).sum(), weight * 2, weight, 1, {"part": (weight * 1).sum()}))
    means = [
        mean
        for sums in (filled._terms, filled._parts)
        for pairs in sums._pending.values()
        for mean, _ in pairs
    ]
    kept = [*(loss for loss, _ in filled._pending), *means]
    assert len(kept) == 3 and not any(each.requires_grad for each in kept)


@pytest.mark.parametrize(
    ("losses", "read_after", "says"),
    [
        ([1.0, NAN, 2.0], None, "train loss is nan at step 2"),
        ([1.0, 2.0, INF, NAN], None, "train loss is inf at step 3"),
        ([-INF], None, "train loss is -inf at step 1"),
        ([1.0, 2.0, 3.0, NAN], 2, "train loss is nan at step 4"),
    ],
)
def test_the_first_bad_step_is_named(losses: list[float], read_after: int | None, says: str) -> None:
    filled = EpochMetrics(Task(), {}, "train loss")
    with pytest.raises(NotFinite) as caught:
        for step, loss in enumerate(losses, 1):
            filled.add(result(loss))
            if step == read_after:
                filled.read()
        filled.values()
    assert str(caught.value) == says


def test_gradient_norms() -> None:
    filled = tally([1.0], [3.0, 1.0])
    filled.read()
    filled.add(result(1.0))
    filled.add_norm(torch.tensor(2.0))
    filled.add_norm(None)
    assert filled.values() == {"loss": 1.0, "grad_norm": 3.0}
    assert "grad_norm" not in tally([1.0]).values()


def test_a_bad_norm_is_named_where_norms_are_checked() -> None:
    filled = EpochMetrics(Task(), {}, "train loss", check_norms=True)
    for step in range(1, 4):
        filled.add(result(1.0))
        filled.add_norm(torch.tensor(1.0) if step % 2 == 0 else None)  # an optimizer step for two batches
    filled.read()
    filled.add(result(1.0))
    with pytest.raises(NotFinite, match="gradient norm is inf at step 4"):  # counted on after a read
        filled.add_norm(torch.tensor(INF))


class Asked:
    """A metric that must not be shown what isn't finite."""

    batches = 0

    def reset(self) -> None:
        pass

    def update(self, prediction: Any, target: Any) -> None:
        self.batches += 1

    def compute(self) -> Tensor:
        return torch.zeros(())


def test_a_bad_loss_is_seen_at_its_own_step_before_a_metric_sees_it() -> None:
    metric = Asked()
    filled = EpochMetrics(Task(), {"asked": metric}, "train loss")
    for loss in (1.0, 2.0):
        filled.add(result(loss))
    with pytest.raises(NotFinite, match="train loss is nan at step 3"):
        filled.add(result(NAN))
    assert metric.batches == 2


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_bad_norm_shows_where_it_is_not_checked(bad: float) -> None:
    assert not math.isfinite(tally([1.0, 1.0], [2.0, bad]).values()["grad_norm"])
    filled = tally([1.0], [bad])
    filled.read()
    filled.add(result(1.0))
    filled.add_norm(torch.tensor(2.0))
    assert not math.isfinite(filled.values()["grad_norm"])


# Reports


class Heard(Callback):
    def __init__(self) -> None:
        self.phases: list[PhaseStart] = []
        self.steps: list[StepsDone] = []

    def on_phase_start(self, event: PhaseStart) -> None:
        self.phases.append(event)

    def on_steps(self, event: StepsDone) -> None:
        self.steps.append(event)


def test_reports_every_so_many_steps_with_the_loss_since() -> None:
    heard = Heard()
    reporter = ProgressReporter(CallbackList([heard]), 2)
    reporter.begin("val", 3, 9, 5)
    reporter._reported_at = math.inf  # not by the clock
    filled = EpochMetrics(Task(), {})
    for step, loss in enumerate([1.0, 3.0, 10.0, 20.0, 7.0], 1):
        filled.add(result(loss))
        reporter.step(step, filled)
        reporter._reported_at = math.inf
    assert heard.phases == [PhaseStart("val", 3, 9, 5)]
    assert heard.steps == [StepsDone("val", 2, 2.0), StepsDone("val", 4, 15.0)]
    assert filled.values()["loss"] == pytest.approx(41 / 5)


def test_reports_by_the_clock_without_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    heard = Heard()
    reporter = ProgressReporter(CallbackList([heard]), 10**6)
    filled = EpochMetrics(Task(), {})
    for step in range(1, 9):
        now += evaluation.SECONDS_BETWEEN_REPORTS / 3
        filled.add(result(1.0))
        reporter.step(step, filled)
    assert [(event.step, event.loss) for event in heard.steps] == [(1, None), (5, None)]
    assert filled.samples == 0  # nothing was read


# Whole sets


def judge(model: nn.Module, loader: Any, **options: Any) -> dict[str, float]:
    defaults: dict[str, Any] = {
        "task": Task(),
        "criterion": nn.functional.mse_loss,
        "runtime": Runtime("cpu"),
        "metrics": {},
    }
    return evaluate(model, loader, **{**defaults, **options})


def test_evaluate_equals_a_plain_loop() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x, y = torch.rand(10, 3), torch.rand(10, 1)
    steps: list[int] = []
    before = {k: v.clone() for k, v in model.state_dict().items()}
    values = judge(
        model.train(),
        DataLoader(TensorDataset(x, y), 4),
        metrics={"mae": MAE()},
        on_step=lambda step, filled: steps.append(step),
    )
    model.eval()
    with torch.no_grad():
        output = model(x)
    assert values == pytest.approx(
        {"loss": float((output - y).square().mean()), "mae": float((output - y).abs().mean())}, rel=1e-5
    )
    assert steps == [1, 2, 3]
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_evaluate_of_nothing() -> None:
    with pytest.raises(ValueError, match="the loader is empty"):
        judge(nn.Linear(1, 1), [])


def test_evaluate_names_what_is_not_finite() -> None:
    batch = [torch.full((2, 1), NAN), torch.zeros(2, 1)]
    with pytest.raises(NotFinite, match="validation loss is nan at step 1"):
        judge(nn.Identity(), [batch], label="validation loss")


# Pictures' samples


class Predictor:
    def __init__(self, model: nn.Module, task: Task | None = None, precision: str = "fp32") -> None:
        self.task, self.runtime, self.ema = task or Task(), Runtime("cpu", precision), None
        self.evaluated = self.model = model


class Pairs(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._items[index]


def image(size: int, value: float = 1.0) -> tuple[Tensor, Tensor]:
    return torch.full((1, size, size), value), torch.ones(1, size, size)


def test_peek_takes_the_first_of_equal_shape() -> None:
    data = Pairs([image(4, -2.0), image(5), image(4, 2.0), image(4, 9.0)])
    samples = SamplePredictions(Predictor(nn.Identity(), Segmentation()), data, 3, Path("best.pt"))()
    assert samples is not None
    assert [tuple(t.shape) for t in (samples.inputs[0], samples.targets)] == [(2, 1, 4, 4)] * 2
    expected = torch.sigmoid(torch.tensor([-2.0, 2.0]))
    assert torch.allclose(samples.predictions[:, 0, 0, 0], expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_peek_is_as_in_validation_and_leaves_the_mode(precision: str) -> None:
    model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.9), nn.Linear(8, 1)).train()
    data = TensorDataset(torch.rand(5, 2), torch.rand(5, 1))
    samples = SamplePredictions(Predictor(model, precision=precision), data, 99, Path("best.pt"))()
    assert samples is not None and model.training
    with torch.no_grad():
        expected = model.eval()(data.tensors[0])
    model.train()
    tolerance = 1e-6 if precision == "fp32" else 0.05
    assert torch.allclose(samples.predictions.float(), expected, atol=tolerance)
    assert not samples.predictions.requires_grad and len(samples.predictions) == 5


def test_peek_with_several_inputs() -> None:
    class Sum(nn.Module):
        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return a + b

    data = TensorDataset(torch.ones(2, 1), torch.full((2, 1), 2.0), torch.zeros(2, 1))
    samples = SamplePredictions(Predictor(Sum()), data, 2, Path("best.pt"))()
    assert samples is not None and len(samples.inputs) == 2
    assert samples.predictions.tolist() == [[3.0], [3.0]]


def test_peek_puts_samples_together_as_their_data_does() -> None:
    class Named(Pairs):
        def collate(self, items: list[Any]) -> list[Any]:
            first, second = zip(*items, strict=True)
            return [{"x": torch.cat(first)}, torch.cat(second)]

    class Halved(nn.Module):
        def forward(self, named: dict[str, Tensor]) -> dict[str, Any]:
            return {"half": named["x"] / 2, "inside": {"x": named["x"]}, "said": "so"}

    data = Named([(torch.ones(2), torch.zeros(2)), (torch.full((3,), 4.0), torch.ones(3))])
    samples = SamplePredictions(Predictor(Halved()), data, 5, Path("best.pt"))()
    assert samples is not None and samples.targets.tolist() == [0, 0, 1, 1, 1]  # type: ignore[union-attr]
    said: Any = samples.predictions
    assert said["half"].tolist() == [0.5, 0.5, 2, 2, 2] and said["said"] == "so"
    assert said["inside"]["x"].tolist() == [1, 1, 4, 4, 4]


def test_peek_reads_the_samples_once_and_predicts_each_time() -> None:
    class Counted(Pairs):
        reads = 0

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return super().__getitem__(index)

    data, model = Counted([image(2), image(2)]), nn.Conv2d(1, 1, 1)
    peek = SamplePredictions(Predictor(model), data, 2, Path("best.pt"))
    first = peek()
    with torch.no_grad():
        assert model.bias is not None
        model.bias += 1
    second = peek()
    assert first is not None and second is not None and data.reads == 2
    assert torch.allclose(second.predictions, first.predictions + 1)


def test_predictions_of_the_best_weights_leave_the_network_its_own(tmp_path: Path) -> None:
    data, model = Pairs([image(2), image(2)]), nn.Conv2d(1, 1, 1)
    peek = SamplePredictions(Predictor(model), data, 2, tmp_path / "best.pt")
    best = peek()
    checkpoint.save(tmp_path / "best.pt", checkpoint.collect({"model": model}))
    with torch.no_grad():
        assert model.bias is not None
        model.bias += 1
    own = model.bias.clone()
    again = peek.best()
    assert best is not None and again is not None
    assert torch.equal(torch.as_tensor(again.predictions), torch.as_tensor(best.predictions))
    assert torch.equal(model.bias, own)


@pytest.mark.parametrize(
    "data", [None, iter([1]), Pairs([]), Pairs([(torch.ones(1), 3)]), Pairs([{"image": torch.ones(1)}])]
)
def test_no_samples_to_predict(data: Any) -> None:
    assert SamplePredictions(Predictor(nn.Identity()), data, 3, Path("best.pt"))() is None


# Denominators


def test_a_set_of_ignored_targets_has_no_loss() -> None:
    batch = (torch.rand(2, 3), torch.full((2,), -100))
    with pytest.raises(ValueError, match="no validation loss: every target is one that the loss ignores"):
        judge(nn.Identity(), [batch], criterion=nn.CrossEntropyLoss(), label="validation loss")


def test_a_loss_that_a_task_replaced_is_what_counts() -> None:
    class Penalised(Task):
        def step(self, model: Any, criterion: Any, batch: Any) -> StepResult:
            measured = super().step(model, criterion, batch)
            return measured._replace(loss=measured.loss + 10, size=3)

    batches = [(torch.rand(2, 3), torch.tensor([0, -100])), (torch.rand(2, 3), torch.tensor([1, 2]))]
    criterion = nn.CrossEntropyLoss()
    expected = [float(criterion(*batch)) + 10 for batch in batches]
    found = judge(nn.Identity(), batches, criterion=criterion, task=Penalised())
    assert found["loss"] == pytest.approx(sum(expected) / 2)


def test_a_checkpoint_within_an_epoch_keeps_denominators() -> None:
    criterion = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 20.0, 3.0]))
    batches = [(torch.rand(2, 3), torch.tensor(y)) for y in ([0, 0], [1, -100], [2, 1])]
    results = [Task().step(nn.Identity(), criterion, batch) for batch in batches]
    first = EpochMetrics(Task(), {})
    for each in results[:2]:
        first.add(each)
    first.read()
    second = EpochMetrics(Task(), {})
    second.load_state_dict(first.state_dict(), torch.device("cpu"))
    second.add(results[2])
    whole = criterion(torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches]))
    assert second.values() == {"loss": pytest.approx(float(whole), rel=1e-6)} and second.samples == 6


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_checkpoint_of_sums_over_samples_is_continued(goes_on: bool) -> None:
    """As it was kept before terms had denominators: Σ loss · samples."""
    filled = EpochMetrics(Task(), {})
    sums = {"loss": 2.0 * 12, "loss_a": 0.5 * 12, "grad_norm": 7.0}
    state = {"sums": sums, "samples": 12, "steps": 3, "metrics": {}}
    filled.load_state_dict(state, torch.device("cpu"))
    if goes_on:
        filled.add(result(4.0, 4, a=1.5))
        filled.read()
        later = EpochMetrics(Task(), {})
        later.load_state_dict(filled.state_dict(), torch.device("cpu"))
        assert later.values() == pytest.approx({"loss": 40 / 16, "loss_a": 12 / 16, "grad_norm": 7.0})
    else:
        assert filled.values() == pytest.approx({"loss": 2.0, "loss_a": 0.5, "grad_norm": 7.0})


def test_batches_that_are_mappings_have_no_picture() -> None:
    class Named(Pairs):
        def collate(self, items: list[Any]) -> dict[str, Tensor]:
            return {"image": torch.stack([item["image"] for item in items])}

    data = Named([{"image": torch.ones(1)}])
    assert SamplePredictions(Predictor(nn.Identity()), data, 3, Path("best.pt"))() is None
