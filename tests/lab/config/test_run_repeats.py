"""What a config says of folds, and what it leaves to the data."""

from typing import Any

import pytest

from lab.config import ConfigError, RunConfig
from lab.config.validation import validate

SMALL = {"data": "lab.data.function", "net": {"target": "model.MLP", "width": 4}}


def make(**values: Any) -> RunConfig:
    return validate(RunConfig, {**SMALL, **values})


def test_a_run_is_one_or_several_seeds_or_folds() -> None:
    assert make().repeats == {"seed_0": {"seeds": [0]}}
    assert list(make(seeds=[4, 2]).repeats) == ["seed_4", "seed_2"]
    whole = make(folds=3, seeds=5)
    assert list(whole.repeats) == ["fold_0", "fold_1", "fold_2"]
    part = whole.with_values(whole.repeats["fold_1"])
    assert (part.folds, part.data.arguments, part.seeds) == (None, {"folds": 3, "fold": 1}, (5,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"folds": 1}, "folds: found 1 .whole number., expected at least 2"),
        ({"folds": 2, "seeds": [0, 1]}, "folds: doesn't go with 2 seeds; keep one seed, or set folds"),
    ],
)
def test_folds_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**values)


def test_data_that_knows_no_folds_is_told_of_before_the_run() -> None:
    with pytest.raises(ConfigError, match=r"data\.fold: function takes no 'fold'"):
        make(folds=2).check()


def test_the_network_is_filled_in_from_the_data() -> None:
    net = {"target": "model.segmenter", "in_channels": "auto", "classes": "auto"}
    config = make(net=net, task="lab.tasks.Segmentation")
    config.check()
    facts = {"in_channels": 2, "classes": ["background", "cell"], "sequences": {"a": 0}}
    net = config.create_model(facts)
    assert next(net.parameters()).shape[1] == 2 and net.segmentation_head[0].out_channels == 1
    three = config.create_model(facts | {"classes": ["a", "b", "c"]})
    assert three.segmentation_head[0].out_channels == 3
    with pytest.raises(
        ConfigError, match=r"net\.classes: cannot resolve 'auto': the dataset does not provide"
    ):
        config.create_model({"in_channels": 1})
