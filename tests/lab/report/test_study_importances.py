import random
from pathlib import Path

import optuna
import pytest

from lab.report import study_importances
from lab.report.study_data import Study, read
from lab.report.study_importances import importances
from tests.lab.report import studies

CONFIG = studies.config()


def study(folder: Path, count: int, spoilt: bool = False, **fixed: str | float) -> Study:
    """Trials whose value is set by the logarithm of the learning rate, and by the layers."""
    made, rng = studies.create(folder, CONFIG), random.Random(1)
    for number in range(count):
        power, layers = rng.uniform(-5, -1), rng.randint(2, 6)
        params = {"optimizer.lr": 10**power, "net.layers": layers, "batch_size": rng.choice([8, 16, 32])}
        params |= {"optimizer": "SGD", "optimizer.momentum": 0.5} if number % 3 else {"optimizer": "AdamW"}
        value = -6.0 * (power + 3) ** 2 + 4.0 * layers
        studies.add(made, CONFIG, params | fixed, "completed", (-1e12 if spoilt and number == 7 else value,))
    return read(folder, made, CONFIG)


def test_what_decides_the_value_is_most_important(tmp_path: Path) -> None:
    found = importances(study(tmp_path, 60))
    fractions = dict(found.fractions)
    assert sum(fractions.values()) == pytest.approx(1)
    assert list(fractions)[:2] == ["optimizer.lr", "net.layers"]
    assert fractions["optimizer.lr"] > 0.5
    assert fractions["batch_size"] < 0.1
    assert (found.trials, found.objective, found.reason) == (60, "val_dice", "")


def test_of_many_trials_some_at_even_intervals_of_the_ranking_stand_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, used = study(tmp_path, 60), list[int]()
    monkeypatch.setattr(study_importances, "_MOST", 25)
    monkeypatch.setattr(
        study_importances, "_rescaled", lambda values, maximize: used.append(len(values)) or [*values]
    )
    found = importances(made)
    assert found.trials == 25 and used == [25]
    assert list(dict(found.fractions))[:2] == ["optimizer.lr", "net.layers"]


@pytest.mark.slow
def test_one_very_bad_trial_does_not_decide(tmp_path: Path) -> None:
    calm, spoilt = (
        dict(importances(study(tmp_path / name, 60, spoilt)).fractions)
        for name, spoilt in (("calm", False), ("spoilt", True))
    )
    assert spoilt == pytest.approx(calm, abs=0.15)


def test_a_conditional_parameter_does_not_take_its_conditions_share(tmp_path: Path) -> None:
    rng, made = random.Random(2), studies.create(tmp_path, CONFIG)
    for number in range(40):
        sgd = number % 2 == 0
        params = (
            {"optimizer": "SGD", "optimizer.momentum": rng.uniform(0, 0.9)} if sgd else {"optimizer": "AdamW"}
        )
        studies.add(made, CONFIG, params, "completed", (0.5 * sgd + 0.01 * rng.random(),))
    found = importances(read(tmp_path, made, CONFIG))
    assert dict(found.fractions)["optimizer"] > 0.95
    assert found.conditional == ("optimizer.momentum",)


def test_what_never_changed_is_named(tmp_path: Path) -> None:
    data = study(tmp_path, 30, batch_size=16)
    found = importances(data)
    assert found.constant == ("optimizer.momentum", "batch_size")  # 0.5 wherever it was in use
    assert set(dict(found.fractions)) == {"optimizer.lr", "optimizer", "net.layers"}
    assert importances(data) == found  # the forest has its own seed


@pytest.mark.parametrize(
    ("count", "value", "varied", "reason"),
    [
        (0, 0.5, True, "Importances require at least 4 finished trials; there are 0."),
        (3, 0.5, True, "Importances require at least 4 finished trials; there are 3."),
        (9, 0.5, True, "All finished trials have the same value."),
        (9, None, False, "No parameter had more than one value."),
    ],
)
def test_it_says_why_there_are_none(
    count: int, value: float | None, varied: bool, reason: str, tmp_path: Path
) -> None:
    made = studies.create(tmp_path, CONFIG)
    for number in range(count):
        params = {"net.layers": 2 + number % 5 * varied}
        studies.add(made, CONFIG, params, "completed", (number / 10 if value is None else value,))
    found = importances(read(tmp_path, made, CONFIG))
    assert (found.fractions, found.reason) == ((), reason)


def test_the_copy_of_the_study_is_not_announced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = study(tmp_path, 10)
    optuna.logging.set_verbosity(optuna.logging.INFO)
    try:
        importances(data)
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert capfd.readouterr().err == ""
