import math
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch.nn import functional as F

from lab.config.component_spec import Spec
from lab.config.mask_values import IGNORE_INDEX, Auto, Background
from lab.config.validation import validate
from lab.losses import BCEDice, CrossEntropy, WeightedSum
from lab.tasks import Segmentation

NAMES = ["bce", "cross_entropy", "dice", "jaccard", "focal", "tversky", "lovasz"]


def batch(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 1, 7, 5, generator=generator)
    return logits, (torch.rand(count, 1, 7, 5, generator=generator) > 0.6).float()


def test_closed_form() -> None:
    # p = 1/2 everywhere, two of four pixels set: Σpg = 1, Σp = 2, Σg = 2.
    logits, mask = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    bce, dice = math.log(2), (2 * 1 + 1) / (2 + 2 + 1)
    assert BCEDice(0.3, 0.7, smooth=1.0)(logits, mask).item() == pytest.approx(0.3 * bce + 0.7 * (1 - dice))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_answer_costs_nothing(value: float) -> None:
    mask = torch.full((2, 1, 4, 4), value)
    assert BCEDice()(1000 * (2 * mask - 1), mask).item() == pytest.approx(0, abs=1e-6)


def test_a_confident_wrong_answer_is_finite_and_can_be_learned_from() -> None:
    logits = torch.full((1, 1, 4, 4), -1000.0, requires_grad=True)
    loss = BCEDice()(logits, torch.ones(1, 1, 4, 4))
    loss.backward()
    assert logits.grad is not None
    assert math.isfinite(loss.item()) and loss.item() > 400
    assert torch.isfinite(logits.grad).all() and (logits.grad < 0).all()


def test_dice_term_equals_smp() -> None:
    logits, mask = batch(6)
    # smp adds its smoothing to half of our fraction, and sums over a batch: so it is asked image by image.
    theirs = smp.losses.DiceLoss(mode="binary", smooth=0.5)
    expected = torch.stack([theirs(logits[i : i + 1], mask[i : i + 1]) for i in range(6)]).mean()
    torch.testing.assert_close(BCEDice(alpha=0, beta=1, smooth=1.0)(logits, mask), expected)


def test_weights_mix_the_two_terms() -> None:
    logits, mask = batch(3)
    bce = F.binary_cross_entropy_with_logits(logits, mask)
    dice = BCEDice(alpha=0, beta=1)(logits, mask)
    torch.testing.assert_close(BCEDice(alpha=1, beta=0)(logits, mask), bce)
    torch.testing.assert_close(BCEDice(alpha=0.2, beta=1.5)(logits, mask), 0.2 * bce + 1.5 * dice)


def test_the_mean_over_samples_does_not_depend_on_the_batches() -> None:
    logits, mask = batch(5)
    loss = BCEDice()
    parts = 2 * loss(logits[:2], mask[:2]) + 3 * loss(logits[2:], mask[2:])
    torch.testing.assert_close(loss(logits, mask), parts / 5)


def test_gradient_is_the_numerical_one() -> None:
    logits, mask = (tensor.double() for tensor in batch(2))
    assert torch.autograd.gradcheck(lambda x: BCEDice()(x, mask), logits.requires_grad_(True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_do_not_overflow(dtype: torch.dtype) -> None:
    # 512² pixels of 1 sum to 262,144, and float16 ends at 65,504.
    loss = BCEDice()(torch.full((1, 1, 512, 512), 20.0, dtype=dtype), torch.ones(1, 1, 512, 512))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -1.0}, "alpha=-1.0"),
        ({"alpha": 0.0, "beta": 0.0}, "not both 0"),
        ({"smooth": 0.0}, "smooth must be > 0"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BCEDice(**arguments)


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) and \(2, 4, 4\)"):
        BCEDice()(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4))


def before(logits: torch.Tensor, mask: torch.Tensor, alpha: float, beta: float) -> torch.Tensor:
    """BCEDice as it was before masks could hold pixels that nobody judged."""
    bce = F.binary_cross_entropy_with_logits(logits, mask)
    probability, truth = torch.sigmoid(logits).flatten(1), mask.flatten(1)
    dice = (2 * (probability * truth).sum(1) + 1) / (probability.sum(1) + truth.sum(1) + 1)
    return alpha * bce + beta * (1 - dice.mean())


@pytest.mark.parametrize("size", [7, 96, 101])
def test_a_mask_without_ignored_pixels_costs_what_it_did_to_the_last_bit(size: int) -> None:
    torch.manual_seed(size)
    logits, mask = 3 * torch.randn(5, 1, size, size), (torch.rand(5, 1, size, size) > 0.7).float()
    ours, theirs = logits.clone().requires_grad_(True), logits.clone().requires_grad_(True)
    found, expected = BCEDice(0.4, 0.6)(ours, mask), before(theirs, mask, 0.4, 0.6)
    (found_gradient,) = torch.autograd.grad(found, ours)
    (expected_gradient,) = torch.autograd.grad(expected, theirs)
    assert torch.equal(found, expected) and torch.equal(found_gradient, expected_gradient)


# Every loss, with what it is called with: binary masks and three classes.
LOSSES = [
    (BCEDice(), True),
    *((WeightedSum({name: 1.0}), binary) for name in NAMES for binary in (True, False)),
    (WeightedSum({"bce": 1.0, "focal": 0.5, "dice": 1.0}, class_weights=[1.0, 4.0]), True),
    (WeightedSum({"cross_entropy": 1.0, "focal": 0.5, "dice": 1.0}, class_weights=[1.0, 2.0, 4.0]), False),
]
IDS = [
    f"{loss.__class__.__name__}-{getattr(loss, 'weights', '')}-{'binary' if two else 'classes'}"
    for loss, two in LOSSES
]


def total(loss: torch.nn.Module, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """What a run minimises."""
    value = loss(logits, target)
    return torch.stack(list(value.values())).sum() if isinstance(value, dict) else value


def sample(binary: bool, count: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    if binary:
        return batch(count, seed)
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 3, 7, 5, generator=generator)
    return logits, torch.randint(0, 3, (count, 7, 5), generator=generator)


@pytest.mark.parametrize(("loss", "binary"), LOSSES, ids=IDS)
def test_an_ignored_pixel_has_no_say(loss: torch.nn.Module, binary: bool) -> None:
    logits, target = sample(binary)
    target[..., :3, 1:4] = IGNORE_INDEX
    hidden = (target == IGNORE_INDEX).reshape(3, 1, 7, 5).expand_as(logits)
    logits.requires_grad_(True)
    (gradient,) = torch.autograd.grad(value := total(loss, logits, target), logits)
    assert (gradient[hidden] == 0).all() and (gradient[~hidden] != 0).any()
    other = torch.where(hidden, 5 - logits, logits)
    torch.testing.assert_close(total(loss, other, target), value)
    # The same as for the picture without those pixels: a row is cut off from all images.
    target = sample(binary)[1]
    target[..., 6:, :] = IGNORE_INDEX
    torch.testing.assert_close(
        total(loss, logits, target), total(loss, logits[..., :6, :], target[..., :6, :])
    )


@pytest.mark.parametrize(("loss", "binary"), LOSSES, ids=IDS)
def test_a_batch_of_ignored_pixels_costs_nothing_and_breaks_nothing(
    loss: torch.nn.Module, binary: bool
) -> None:
    logits, target = sample(binary)
    (gradient,) = torch.autograd.grad(
        value := total(loss, logits.requires_grad_(True), torch.full_like(target, IGNORE_INDEX)), logits
    )
    assert value.item() == 0 and (gradient == 0).all()


@pytest.mark.parametrize(("loss", "binary"), LOSSES, ids=IDS)
def test_the_right_answer_is_cheaper_and_half_precision_stays_finite(
    loss: torch.nn.Module, binary: bool
) -> None:
    _, target = sample(binary)
    right = 2 * target - 1 if binary else 2 * F.one_hot(target, 3).movedim(-1, 1).float() - 1
    good, bad = (total(loss, (scale * right).to(torch.bfloat16), target) for scale in (12.0, -12.0))
    assert good.dtype == torch.float32
    assert 0 <= good.item() < 0.01 < bad.item() < math.inf


def theirs(name: str, mode: str, **options: object) -> torch.nn.Module:
    kinds = {"dice": "Dice", "jaccard": "Jaccard", "focal": "Focal", "tversky": "Tversky", "lovasz": "Lovasz"}
    loss: torch.nn.Module = getattr(smp.losses, f"{kinds[name]}Loss")(
        mode, ignore_index=IGNORE_INDEX, **options
    )
    return loss


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("name", ["dice", "jaccard", "focal", "tversky", "lovasz"])
def test_terms_are_those_of_smp(name: str, binary: bool) -> None:
    logits, target = sample(binary)
    target[0, ..., :2, :] = IGNORE_INDEX
    expected = theirs(name, "binary" if binary else "multiclass")(logits, target)
    assert torch.equal(WeightedSum({name: 2.0})(logits, target)[name], 2 * expected)


@pytest.mark.parametrize("name", ["bce", "cross_entropy"])
def test_cross_entropy_is_that_of_torch(name: str) -> None:
    logits, target = sample(binary=False)
    target[1, :3] = IGNORE_INDEX
    weights = [1.0, 2.0, 5.0]
    for shares in (None, weights):
        given = None if shares is None else torch.tensor(shares)
        expected = F.cross_entropy(logits, target, weight=given, ignore_index=IGNORE_INDEX)
        found = WeightedSum({name: 0.5}, class_weights=shares)(logits, target)
        torch.testing.assert_close(found[name], 0.5 * expected)
    logits, target = sample(binary=True)
    expected = F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(WeightedSum({name: 1.0})(logits, target)[name], expected)


def test_class_weights_of_a_binary_mask() -> None:
    logits, mask = sample(binary=True)
    plain, equal, more = (
        WeightedSum({"bce": 1.0, "focal": 1.0, "dice": 1.0}, class_weights=weights)(logits, mask)
        for weights in (None, [3.0, 3.0], [1.0, 3.0])
    )
    assert {name: value.item() for name, value in plain.items()} == pytest.approx(
        {name: value.item() for name, value in equal.items()}
    )
    each = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    by_class = 1 + 2 * mask
    torch.testing.assert_close(more["bce"], (each * by_class).sum() / by_class.sum())
    torch.testing.assert_close(more["focal"], 2 * theirs("focal", "binary", alpha=0.75)(logits, mask))
    assert torch.equal(more["dice"], plain["dice"])


def test_class_weights_of_several_classes() -> None:
    logits, target = sample(binary=False)
    for name in ("dice", "jaccard", "focal", "tversky"):
        found = WeightedSum({name: 1.0}, class_weights=[1, 2, 4])(logits, target)[name]
        torch.testing.assert_close(found, theirs(name, "multiclass", class_weights=[1, 2, 4])(logits, target))


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
@pytest.mark.parametrize("weights", [None, [1, 2, 4]])
@pytest.mark.parametrize(
    ("background", "counted"), [(Auto.AUTO, [0, 1, 2]), (None, [0, 1, 2]), (0, [1, 2]), (1, [0, 2])]
)
def test_an_overlap_term_is_over_the_classes_that_count(
    name: str, weights: list[float] | None, background: Background, counted: list[int]
) -> None:
    logits, target = sample(binary=False)
    loss = WeightedSum({name: 1.0}, weights, background)
    found = loss(logits, target)[name]
    expected = theirs(name, "multiclass", class_weights=weights, classes=counted)(logits, target)
    torch.testing.assert_close(found, expected)
    assert loss.definition == (2 if isinstance(background, int) else 1)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky"])
def test_an_overlap_term_of_one_map_by_hand(name: str) -> None:
    logits, mask = batch(3)
    mask[0, :, :2] = IGNORE_INDEX
    judged = mask != IGNORE_INDEX
    p, g = logits.sigmoid()[judged], mask[judged]

    def term(likely: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        both, total = (likely * truth).sum(), likely.sum() + truth.sum()
        return 1 - (both / (total - both) if name == "jaccard" else 2 * both / total)

    foreground, rest = term(p, g), term(1 - p, 1 - g)
    for background, expected, definition in (
        (Auto.AUTO, foreground, 1),
        (0, foreground, 1),
        (1, rest, 2),
        (None, (foreground + rest) / 2, 2),
    ):
        loss = WeightedSum({name: 1.0}, background=background)
        torch.testing.assert_close(loss(logits, mask)[name], expected)
        assert loss.definition == definition


def test_a_weighted_cross_entropy_has_another_definition_and_its_neighbours_have_not() -> None:
    loss = WeightedSum({"bce": 1.0, "focal": 1.0, "dice": 1.0}, [1.0, 3.0])
    assert loss.part_definitions == {"bce": 2, "focal": 1, "dice": 1} and loss.definition == 2
    assert WeightedSum({"bce": 1.0, "focal": 1.0}).definition == 1
    assert WeightedSum({"dice": 1.0}, background=0).definition is None  # of one map, or of several?


def test_a_term_has_arguments_of_its_own() -> None:
    logits, mask = batch(3)
    found = WeightedSum({"tversky": {"weight": 0.5, "alpha": 0.2, "beta": 0.8}, "dice": {"smooth": 1.0}})(
        logits, mask
    )
    torch.testing.assert_close(
        found["tversky"], 0.5 * theirs("tversky", "binary", alpha=0.2, beta=0.8)(logits, mask)
    )
    torch.testing.assert_close(found["dice"], theirs("dice", "binary", smooth=1.0)(logits, mask))


@pytest.mark.parametrize(
    ("terms", "weights", "message"),
    [
        ({"dise": 1.0}, None, "unknown loss 'dise'; did you mean 'dice'"),
        ({"dice": -1.0}, None, r"terms.dice: a weight must be >= 0, found -1.0"),
        ({"dice": math.nan}, None, "found nan"),
        ({"dice": 0.0, "bce": 0.0}, None, "at least one loss needs a weight"),
        ({}, None, "at least one loss needs a weight"),
        ({"tversky": {"gama": 1.0}}, None, "terms.tversky takes no 'gama'; did you mean 'gamma'?"),
        ({"bce": {"alpha": 1.0}}, None, "terms.bce takes no 'alpha'; known: weight"),
        ({"dice": {"mode": 1.0}}, None, "takes no 'mode'"),
        ({"dice": 1.0}, [1.0], "one finite weight > 0 for each class"),
        ({"dice": 1.0}, [1.0, 0.0], "one finite weight > 0 for each class; found"),
        ({"dice": 1.0}, [1.0, math.nan], r"for each class; found \[1.0, nan\]"),
        ({"lovasz": 1.0}, [1.0, 2.0], "not supported by 'lovasz'"),
        ({"focal": {"alpha": 0.3}}, [1.0, 2.0], "set the same weights"),
    ],
)
def test_terms_that_make_no_sense(terms: dict[str, float], weights: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSum(terms, weights)


@pytest.mark.parametrize(
    ("logits", "target", "weights", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), None, "float mask is binary"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), None, "float mask is binary"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4).long(), None, r"the logits \(N, classes, H, W\)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 1, 4, 4).long(), None, r"classes must be \(N, H, W\)"),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4).long(), [1, 2], "are 2, but there are 3 classes"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), [1, 2, 3], "are 3, but there are 2 classes"),
        (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4), [1, 2], "have no effect"),
    ],
)
def test_what_does_not_fit_is_told(
    logits: torch.Tensor, target: torch.Tensor, weights: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        WeightedSum({"dice": 1.0}, weights)(logits, target)


def test_from_yaml_as_the_task_logs_it() -> None:
    config = {
        "target": "lab.losses.WeightedSum",
        "terms": {"dice": 1, "tversky": {"weight": 0.5, "beta": 0.7}},
    }
    spec = validate(Spec, config)
    assert list(spec.check()) == []
    logits, mask = batch(2)
    result = Segmentation().step(torch.nn.Identity(), spec.build(), (logits, mask))
    assert list(result.parts) == ["dice", "tversky"]
    assert result.loss.item() == pytest.approx(sum(part.item() for part in result.parts.values()))
    problems = list(validate(Spec, config | {"terms": {"dice": "much"}}).check())
    assert [problem.path[:2] for problem in problems] == [("terms", "dice")]


# --- cross entropy ----------------------------------------------------------------------------------------


def logits_of_classes(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits (6, 3), class indices (6,) and shares (6, 3)."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(6, 3, generator=generator).to(dtype)
    shares = torch.rand(6, 3, generator=generator)
    return logits, torch.tensor([0, 1, 2, 2, 2, 1]), shares / shares.sum(1, keepdim=True)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_and_its_formula(weights: list[float] | None, smoothing: float) -> None:
    logits, labels, shares = logits_of_classes()
    loss = CrossEntropy(weights, smoothing)
    w = torch.ones(3) if weights is None else torch.tensor(weights)
    theirs = torch.nn.CrossEntropyLoss(None if weights is None else w, label_smoothing=smoothing)
    for target in (labels, shares):
        torch.testing.assert_close(loss(logits, target), theirs(logits, target))
        truth = F.one_hot(labels, 3).float() if target is labels else shares
        smooth = (1 - smoothing) * truth + smoothing / 3
        total = -(w * smooth * logits.log_softmax(1)).sum()
        by = w[labels].sum() if target is labels else torch.tensor(6.0)
        torch.testing.assert_close(loss(logits, target), total / by)


@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_leaves_out_what_has_no_class(weights: list[float] | None, smoothing: float) -> None:
    logits, labels, _ = logits_of_classes()
    loss, left_out = CrossEntropy(weights, smoothing), torch.tensor([True, False, False, True, False, False])
    target = labels.masked_fill(left_out, -100)
    given = None if weights is None else torch.tensor(weights)
    theirs = torch.nn.CrossEntropyLoss(given, label_smoothing=smoothing)
    ours, other = (logits.clone().requires_grad_(True) for _ in range(2))
    found, expected = loss(ours, target), theirs(other, target)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found, loss(logits[~left_out], labels[~left_out]))
    torch.testing.assert_close(torch.autograd.grad(found, ours), torch.autograd.grad(expected, other))
    # Nothing to judge: torch's is NaN.
    found = loss(ours, torch.full_like(labels, -100))
    (gradient,) = torch.autograd.grad(found, ours)
    assert found.item() == 0 and (gradient == 0).all()


def test_cross_entropy_of_half_precision_is_computed_in_float32() -> None:
    logits, labels, shares = logits_of_classes(torch.bfloat16)
    for target in (labels, shares):
        found = CrossEntropy([1.0, 2.0, 3.0])(logits, target)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, CrossEntropy([1.0, 2.0, 3.0])(logits.float(), target))


def test_cross_entropy_weights_travel_with_the_module_and_not_with_its_state() -> None:
    loss = CrossEntropy([1.0, 2.0])
    assert loss.state_dict() == {} and loss.to(torch.float64).class_weights.dtype == torch.float64  # type: ignore[union-attr]
    assert repr(loss) == "CrossEntropy(class_weights=[1.0, 2.0], label_smoothing=0.0)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weights": [1.0]}, r"one finite weight > 0 for each class; found \[1.0\]"),
        ({"class_weights": [1.0, 0.0]}, "one finite weight > 0 for each class"),
        ({"class_weights": [1.0, math.nan]}, r"for each class; found \[1.0, nan\]"),
        ({"class_weights": [math.inf, 1.0]}, r"class; found \[inf, 1.0\]"),
        ({"class_weights": [1e300, 1.0]}, r"class; found \[1e\+300, 1.0\]"),  # float32 has no such number
        ({"class_weights": "balanced"}, "class; found 'balanced'"),
        ({"class_weights": ["1", "2"]}, r"class; found \['1', '2'\]"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be a number in \[0, 1\), found 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be a number in"),
        ({"label_smoothing": math.nan}, "label_smoothing must be a number in .*, found nan"),
        ({"label_smoothing": "0.1"}, "label_smoothing must be a number in .*, found '0.1'"),
    ],
)
def test_cross_entropy_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(**arguments)


def test_cross_entropy_needs_a_weight_for_each_output() -> None:
    logits, labels, _ = logits_of_classes()
    with pytest.raises(ValueError, match="class_weights are 2, but the network has 3 outputs"):
        CrossEntropy([1.0, 2.0])(logits, labels)
