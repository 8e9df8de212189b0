"""Shape errors: one problem a mistake, where it was written, with the nearest valid name."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import ConfigError, RunConfig, config_file
from lab.config.config_diff import differences

GOOD = """\
project: spheroids
name: unet
seeds: [0, 1]
device: cuda:1
precision: bf16
epochs: 10
batch_size: 16
channels_last: true
data:
  target: lab.data.spheroids
  transforms:
    - {target: albumentations.D4, p: 1.0}
    - {target: albumentations.Affine, scale: [0.85, 1.2]}
net: {target: model.segmenter, encoder: resnet18, encoder_weights: null}
criterion: lab.losses.BCEDice
metrics:
  dice: lab.metrics.Dice
monitor: {metric: val_dice, mode: max}
optimizer:
  target: torch.optim.AdamW
  lr: 1e-3
scheduler:
  target: torch.optim.lr_scheduler.OneCycleLR
  interval: step
  total_steps: auto
early_stopping_config: {enabled: true, patience: 10, min_delta: 0.0}
loader: {workers: 2}
ema: {decay: 0.99}
trackers:
  - {type: wandb, mode: auto, tags: [a]}
  - tensorboard
"""
LATER = "Fix these first; the arguments of components are checked afterwards."


def read(text: str) -> RunConfig:
    return RunConfig.from_document(config_file.parse(text, "f.yaml"))


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert caught.value.note == LATER
    return [str(problem) for problem in caught.value.problems]


def test_the_example_is_good() -> None:
    assert read(GOOD).seeds == (0, 1)


@pytest.mark.parametrize(
    ("written", "instead", "expected"),
    [
        ("epochs: 10", "epoch: 10", "6: epoch: unknown key 'epoch'; did you mean 'epochs'?"),
        ("epochs: 10", "epochs: 10.0", "6: epochs: found 10.0 (number), expected a whole number"),
        ("epochs: 10", "epochs: ten", "6: epochs: found 'ten' (text), expected a whole number"),
        ("epochs: 10", "epochs: '10'", "6: epochs: found '10' (text), expected a whole number"),
        ("epochs: 10", "epochs: true", "6: epochs: found true, expected a whole number"),
        ("epochs: 10", "epochs: 0", "6: epochs: found 0 (whole number), expected at least 1"),
        ("epochs: 10", "epochs:", "6: epochs: found nothing (null), expected a whole number"),
        (
            "channels_last: true",
            "channels_last: 1",
            "8: channels_last: found 1 (whole number), expected true or false",
        ),
        (
            "channels_last: true",
            "channels_last: yes",
            "8: channels_last: found 'yes' (text), expected true or false",
        ),
        ("cuda:1", "gpu", "4: device: found 'gpu' (text), expected auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:1", "cuda:x", "4: device: found 'cuda:x' (text), expected auto, cpu, cuda, cuda:1 or mps"),
        ("cuda:1", "3", "4: device: found 3 (whole number), expected text"),
        (
            "precision: bf16",
            "precision: bf61",
            "5: precision: found 'bf61' (text), expected 'fp32', 'bf16' or 'fp16'; did you mean 'bf16'?",
        ),
        ("name: unet", "name: ''", "2: name: found '' (text), expected a text that is not empty"),
        ("seeds: [0, 1]", "seeds: []", "3: seeds: found [] (list), expected a list of at least 1"),
        ("seeds: [0, 1]", "seeds: [0, -1]", "3: seeds.1: found -1 (whole number), expected at least 0"),
        ("seeds: [0, 1]", "seeds: [0, true]", "3: seeds.1: found true, expected a whole number"),
        ("seeds: [0, 1]", "seeds: [0, 0]", "3: seeds: the same seed is listed twice"),
        ("seeds: [0, 1]", "seeds: true", "3: seeds: found true, expected a list"),
        ("seeds: [0, 1]", "seeds: all", "3: seeds: found 'all' (text), expected a list"),
        (
            "  dice: lab",
            "  loss: lab",
            "17: metrics.loss: can't name a metric; use letters, digits and _, and not 'loss'",
        ),
        (
            "  dice: lab",
            "  a.b: lab",
            "17: metrics.a.b: can't name a metric; use letters, digits and _, and not 'loss'",
        ),
        ("mode: max}", "moed: max}", "18: monitor.moed: unknown key 'moed'; did you mean 'mode'?"),
        (
            "{metric: val_dice, mode: max}",
            "val_dice",
            "18: monitor.metric: set mode: max or mode: min for 'val_dice'; only a loss has a default",
        ),
        ("mode: max}", "mode: highest}", "18: monitor.mode: found 'highest' (text), expected 'min' or 'max'"),
        (
            "  target: torch.optim.AdamW",
            "  target: AdamW",
            "20: optimizer.target: 'AdamW' is no import path such as model.MLP",
        ),
        ("  target: torch.optim.AdamW", "  targte: a.B", "19: optimizer.target: is required, and not given"),
        (
            "  interval: step",
            "  interval: steps",
            "24: scheduler.interval: found 'steps' (text), expected 'epoch' or 'step'; did you mean 'step'?",
        ),
        (
            "patience: 10",
            "patince: 10",
            "26: early_stopping_config.patince: unknown key 'patince'; did you mean 'patience'?",
        ),
        (
            "min_delta: 0.0",
            "min_delta: -1",
            "26: early_stopping_config.min_delta: found -1 (whole number), expected at least 0",
        ),
        (
            "min_delta: 0.0",
            "min_delta: .nan",
            "26: early_stopping_config.min_delta: found .nan, expected a finite number",
        ),
        (
            "min_delta: 0.0",
            "metric: val_dice",
            "26: early_stopping_config.metric: set mode: max or mode: min for 'val_dice'; "
            "only a loss has a default",
        ),
        ("{workers: 2}", "3", "27: loader: found 3 (whole number), expected a mapping"),
        ("decay: 0.99", "decay: 1", "28: ema.decay: found 1 (whole number), expected less than 1"),
        ("decay: 0.99", "decay: 0", "28: ema.decay: found 0 (whole number), expected more than 0"),
        ("mode: auto", "moed: auto", "30: trackers.0.moed: unknown key 'moed'; did you mean 'mode'?"),
        (
            "mode: auto",
            "mode: of",
            "30: trackers.0.mode: found 'of' (text), expected 'auto', 'online', 'offline' or 'disabled'",
        ),
        ("tags: [a]", "tags: [1]", "30: trackers.0.tags.0: found 1 (whole number), expected text"),
        ("tags: [a]", "images: 1", "30: trackers.0.images: found 1 (whole number), expected true or false"),
        (
            "- tensorboard",
            "- tensorbord",
            "31: trackers.1: found 'tensorbord' (text), expected {type: wandb}, {type: "
            "tensorboard} or {target: import.path}",
        ),
        ("trackers:\n", "trackers: {a: 1}\nx:\n", "29: trackers: found {'a': 1} (mapping), expected a list"),
        ("net: {target: model.segmenter, ", "net: {", "14: net.target: is required, and not given"),
        (
            "criterion: lab.losses.BCEDice",
            "criterion: 3",
            "15: criterion: found 3 (whole number), expected an import path such as "
            "model.MLP, or a mapping with a target",
        ),
        (
            "criterion: lab.losses.BCEDice",
            "compile: 3",
            "15: compile: found 3 (whole number), expected true or false or text",
        ),
        (
            "criterion: lab.losses.BCEDice",
            "gradient_clip_norm: 0",
            "15: gradient_clip_norm: found 0 (whole number), expected more than 0",
        ),
        ("criterion: lab.losses.BCEDice", "3: 4", "15: 3: the key 3 (whole number) must be a name"),
        (
            "precision: bf16",
            "precision: fp16\ncheck_gradients: true",
            "6: check_gradients: does nothing with precision: fp16, whose scaler skips such "
            "steps; remove one of them",
        ),
        ("epochs: 10", "name: again", "6: the key 'name' is given twice, first in line 2; keep one"),
    ],
)
def test_one_mistake_is_one_problem_where_it_was_made(written: str, instead: str, expected: str) -> None:
    assert GOOD.count(written) == 1
    found = problems(GOOD.replace(written, instead))
    if expected.endswith("MODE"):
        expected = "18: monitor.metric: set mode: max or mode: min for 'val_dice'; only a loss has a default"
    if instead.startswith("trackers"):
        assert found[1].startswith("f.yaml:30: x: unknown key 'x'")
        found = found[:1]
    assert found == [f"f.yaml:{expected}"]


def test_a_required_key_that_is_missing() -> None:
    assert problems("name: a\n") == [
        "f.yaml:1: data: is required, and not given",
        "f.yaml:1: net: is required, and not given",
    ]


def test_an_unknown_key_far_from_all_lists_them() -> None:
    said = problems(GOOD.replace("workers: 2", "qqqq: 2"))
    assert said == [
        "f.yaml:27: loader.qqqq: unknown key 'qqqq'; known: drop_last, pin_memory, prefetch, shard, workers"
    ]


def test_all_problems_at_once_in_the_order_of_lines() -> None:
    text = GOOD.replace("trackers:", "trackerz:").replace("epochs: 10", "epochs: x").replace("decay", "decya")
    text += "name: again\n"
    document = config_file.override(config_file.parse(text, "f.yaml"), ["nope", "batch_size=x", "lr=3"], {})
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_document(document)
    assert [(p.where, p.path) for p in caught.value.problems] == [
        ("f.yaml:6", ("epochs",)),
        ("f.yaml:28", ("ema", "decya")),
        ("f.yaml:29", ("trackerz",)),
        ("f.yaml:32", ()),
        ("--set nope", ()),
        ("--set batch_size=x", ("batch_size",)),
        ("--set lr=3", ("lr",)),
    ]


VALUES = ["null", "true", "-1", "0", "2.5", ".nan", "text", "'1'", "[]", "[1, x]", "{}", "{a: 1}", "a.B"]
VALUES += ["1e400", "&a [*a]", "!x 1", "'", "[", "{target: 3}"]


def mutated(draw: random.Random) -> str:
    """The good config with a slip of the hand in one to three places."""
    lines = GOOD.splitlines()
    for _ in range(draw.randint(1, 3)):
        index = draw.randrange(len(lines))
        line = lines[index]
        match draw.randrange(7):
            case 0:  # a typo
                at = draw.randrange(len(line) + 1)
                lines[index] = line[:at] + draw.choice("abz:_- ") + line[at + draw.randint(0, 1) :]
            case 1:  # another value
                lines[index] = f"{line.partition(':')[0]}: {draw.choice(VALUES)}"
            case 2:
                lines.insert(index, line)
            case 3:
                del lines[index]
            case 4:  # cut short
                del lines[index + 1 :]
                lines[index] = line[: draw.randrange(len(line) + 1)]
            case 5:  # another indent
                lines[index] = draw.choice([" ", "   ", "\t"]) + line
            case _:
                lines[index] = line.strip()
        lines = lines or [""]
    return "\n".join(lines) + "\n"


@settings(max_examples=400, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_slip_of_the_hand_is_a_valid_config_or_told_with_its_line(draw: random.Random) -> None:
    text = mutated(draw)
    try:
        config = read(text)
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            source, _, line = problem.where.rpartition(":")
            assert source == "f.yaml"
            assert 1 <= int(line) <= text.count("\n") + 1
            assert "input_value" not in problem.message, "pydantic's own words"
            assert problem.message
    else:
        assert differences(read(config.to_yaml()).as_data(), config.as_data()) == []  # there NaN is NaN


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(
    st.sampled_from(sorted(RunConfig.model_fields)) | st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["a.B", "x", "wandb"]),
        lambda inner: st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["target", "type", "mode", "metric", "x", 3]), inner, max_size=3),
        max_leaves=5,
    ),
))  # fmt: skip
def test_any_mapping_is_valid_or_refused(data: dict[str, Any]) -> None:
    document = config_file.Document(data, "f.yaml", {(): "f.yaml:1"})
    try:
        RunConfig.from_document(document)
    except ConfigError as error:
        assert all(problem.where == "f.yaml:1" for problem in error.problems)
