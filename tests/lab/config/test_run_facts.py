"""`auto` in a network and a loss: what the data says of itself."""

from typing import Any

import pytest
from torch import nn

from lab.config import ConfigError, RunConfig
from lab.config.validation import validate

HERE = "tests.lab.config.test_run_facts"


class Net(nn.Module):
    def __init__(self, **sizes: Any) -> None:
        super().__init__()
        self.sizes = sizes


class Loss(nn.Module):
    def __init__(self, weights: list[float] | None = None, share: float = 0.5) -> None:
        super().__init__()
        self.weights, self.share = weights, share


def weighed(output: Any, target: Any, weights: Any = None) -> Any:
    return weights


def worded(output: Any, target: Any, mode: str = "plain") -> str:
    return mode


def make(**net: Any) -> RunConfig:
    return validate(RunConfig, {"net": {"target": f"{HERE}.Net", **net}, "data": "lab.data.function"})


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"classes": ["a", "b", "c"]}, 3),
        ({"classes": ["background", "cell"]}, 1),
        ({"classes": 7}, 7),
    ],
)
def test_classes_of_the_network(facts: dict[str, Any], expected: int) -> None:
    config = make(classes="auto", width=4).with_values({"task": "lab.tasks.Segmentation"})
    model = config.create_model(facts)
    assert model.sizes == {"classes": expected, "width": 4}


def test_two_classes_are_one_logit_in_segmentation_alone() -> None:
    facts = {"classes": ["cat", "dog"]}
    for task, expected in (("Classification", 2), ("Task", 2), ("Segmentation", 1)):
        config = make(classes="auto").with_values({"task": f"lab.tasks.{task}"})
        assert config.create_model(facts).sizes == {"classes": expected}


def test_auto_may_be_a_word_of_a_losss_own() -> None:
    config = make().with_values({"criterion": f"{HERE}.worded", "criterion.mode": "auto"})
    config.check()
    assert config.create_criterion()(None, None) == "auto"
    assert config.create_criterion({"mode": "predcls"})(None, None) == "predcls"


def test_groups_become_their_sizes() -> None:
    facts = {"relations": {"attention": ["a", "b"], "contact": ["c"]}, "sequences": {"x": 0, "y": 1}}
    model = make(relations="auto", sequences="auto").create_model(facts)
    assert model.sizes == {"relations": {"attention": 2, "contact": 1}, "sequences": 2}


def test_what_the_data_does_not_say_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"net\.sequences: cannot resolve 'auto': the dataset does not provide"
    ):
        make(sequences="auto").create_model({"classes": ["a"], "normalise": "train"})
    with pytest.raises(
        ConfigError, match=r"criterion\.weights: cannot resolve 'auto': the dataset does not provide"
    ):
        make().with_values({"criterion": f"{HERE}.Loss", "criterion.weights": "auto"}).create_criterion()


@pytest.mark.parametrize("kind", ["Loss", "weighed"])
def test_a_loss_gets_the_fact_as_it_is(kind: str) -> None:
    config = make().with_values({"criterion": f"{HERE}.{kind}", "criterion.weights": "auto"})
    config.check()
    criterion = config.create_criterion({"weights": [0.5, 2.0]})
    assert (criterion.weights if kind == "Loss" else criterion(None, None)) == [0.5, 2.0]
    assert config.criterion.arguments == {"weights": "auto"}, "the config stays as it was"


def test_a_task_and_metrics_get_facts_too() -> None:
    parts = {"task": {"target": "lab.tasks.Classification", "classes": "auto"}}
    parts |= {"metrics": {"sick": {"target": "lab.metrics.ClassRecall", "average": "b", "classes": "auto"}}}
    config = validate(RunConfig, {**make().as_data(), **parts})
    config.check()
    assert config.create_task({"classes": ["a", "b"]}).classes == ("a", "b")
    assert list(config.create_metrics({"classes": ["a", "b"]})) == ["sick"]
    with pytest.raises(ConfigError, match=r"metrics\.sick\.classes: cannot resolve 'auto'"):
        config.create_metrics({})
