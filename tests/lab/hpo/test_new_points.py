"""New points on real databases: feasible, never tried before, repeatable, and the end of a finite space."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from lab.config.optimize_config import OptimizeConfig
from lab.config.search_points import every, key
from lab.hpo import new_points
from lab.hpo.new_points import Proposals
from lab.hpo.open_study import open_study
from lab.hpo.storage import Database
from lab.hpo.trial import Trial
from lab.hpo.trial_queue import TrialQueue
from lab.report.trial_attributes import TrialAttributes

RUN = {
    "epochs": 2,
    "data": {"target": "lab.data.function", "train_count": 128},
    "net": {"target": "model.MLP", "layers": 1},
    "optimizer": {"target": "torch.optim.SGD", "lr": 0.1},
}
SMALL = {  # 18 points
    "batch_size": {"choices": [8, 16, 32]},
    "optimizer.lr": {"type": "float", "low": 0.1, "high": 0.3, "step": 0.1},
    "net.width": {"choices": [4, 8]},
}
NUMBERS = {
    "net.width": {"type": "int", "low": 4, "high": 6},
    "net.layers": {"type": "int", "low": 1, "high": 3},
}
BRANCHES = {  # 4 + 1 points
    "optimizer": {"choices": [{"target": "torch.optim.SGD", "lr": 0.1}, {"target": "torch.optim.AdamW"}]},
    "optimizer.momentum": {"choices": [0.0, 0.3, 0.5, 0.9], "when": {"optimizer.target": "torch.optim.SGD"}},
}
WIDE = {
    "optimizer.lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "net.width": {"type": "int", "low": 8, "high": 64},
    "net.layers": {"type": "int", "low": 1, "high": 8},
}
SAMPLERS: dict[str, Any] = {
    "TPESampler": {"n_startup_trials": 3},
    "GPSampler": {"n_startup_trials": 3},
    "CmaEsSampler": {"n_startup_trials": 2, "popsize": 3, "warn_independent_sampling": False},
    "NSGAIISampler": {"population_size": 3},
    "NSGAIIISampler": {"population_size": 3},
    "QMCSampler": {"warn_independent_sampling": False},
    "RandomSampler": {},
    "GridSampler": {},
    "BruteForceSampler": {},
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Bench:
    """A study that is claimed from and filed to, without training."""

    def __init__(self, folder: Path, space: Any, owner: str | None = None, **changes: Any) -> None:
        url = changes.pop("storage", f"sqlite:///{folder / 'studies.db'}")
        data = {"study_name": "s", "run": RUN, "search_space": space, "storage": url, "seed": 1, **changes}
        self.config = OptimizeConfig.model_validate(data)
        self.database = Database(url)
        self.study = open_study(self.config, self.database)
        self.queue = TrialQueue(self.config, self.study, self.database, folder, owner=owner)
        self.leases = self.queue.leases
        self.held: list[Trial] = []

    def next(self) -> Trial | None:
        """Claim a trial, and hold it."""
        trial = self.queue.fetch(self.held)
        if trial is not None:
            self.held.append(trial)
        return trial

    def step(self, outcome: str = "completed", state: TrialState = TrialState.COMPLETE) -> bool:
        """Claim a trial and file it; False where there is none."""
        trial = self.next()
        if trial is None:
            return False
        value = sum(v for v in trial.values.values() if isinstance(v, (int, float)))
        with self.leases.writing(trial.lease) as writer:
            writer.set_attributes(TrialAttributes(outcome=outcome))
            writer.finish(state, [value] if state == TrialState.COMPLETE else None)
        return True

    def all(self) -> list[FrozenTrial]:
        while self.step():
            pass
        return self.study.get_trials(deepcopy=False)

    def points(self) -> list[Any]:
        return [key(self.config.space, trial.params) for trial in self.study.get_trials(deepcopy=False)]


def sampler(name: str) -> dict[str, Any]:
    return {"target": f"optuna.samplers.{name}", **SAMPLERS[name]}


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_tries_every_point_of_a_small_space_once(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path, NUMBERS, n_trials=12, sampler=sampler(name))
    found = bench.all()
    assert len(found) == 3 * 3 == len(set(bench.points()))
    if name not in ("GridSampler", "BruteForceSampler"):  # which know how many points there are
        assert str(bench.queue.exhausted) == "all 9 points of the space have been tried"
        assert bench.queue.exhausted is not None and not bench.queue.exhausted.infeasible


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_keeps_to_the_constraints(tmp_path: Path, name: str) -> None:
    rules = ["net.width % net.layers == 0", "net.width + net.layers < 9"]
    bench = Bench(tmp_path, NUMBERS, n_trials=12, sampler=sampler(name), constraints=rules)
    found = bench.all()
    expected = {(w, n) for w in range(4, 7) for n in range(1, 4) if w % n == 0 and w + n < 9}
    assert {(t.params["net.width"], t.params["net.layers"]) for t in found} == expected
    assert len(found) == len(expected)
    if name in ("GridSampler", "BruteForceSampler"):
        assert bench.config.total == len(expected)
    else:
        assert str(bench.queue.exhausted) == (
            f"all {len(expected)} points that meet the constraints (of 9) have been tried"
        )


@pytest.mark.parametrize(("rule", "expected"), [("> 0.3", [0.4, 0.5]), ("<= 0.3", [0.1, 0.2, 0.3])])
def test_sums_of_steps_meet_a_constraint_as_what_is_written_does(
    tmp_path: Path, rule: str, expected: list[float]
) -> None:
    """A sampler's third step of 0.1 is 0.30000000000000004."""
    space = {"optimizer.lr": {"type": "float", "low": 0.1, "high": 0.5, "step": 0.1}}
    changes = {"sampler": sampler("RandomSampler"), "constraints": [f"optimizer.lr {rule}"]}
    found = Bench(tmp_path, space, n_trials=9, **changes).all()
    assert sorted(trial.params["optimizer.lr"] for trial in found) == pytest.approx(expected)


@pytest.mark.parametrize("space", [SMALL, BRANCHES], ids=["steps and choices", "conditions"])
def test_tpe_never_tries_a_point_twice(tmp_path: Path, space: Any) -> None:
    bench = Bench(tmp_path, space, n_trials=50, sampler=sampler("TPESampler"))
    found = bench.all()
    assert len(found) == len(list(every(bench.config.space))) == len(set(bench.points()))


def test_every_sampler_draws_feasible_points_from_a_wide_space(tmp_path: Path) -> None:
    for name in ("TPESampler", "CmaEsSampler"):
        (tmp_path / name).mkdir()
        rules = ["net.width % net.layers == 0", "optimizer.lr * net.width < 0.5"]
        bench = Bench(tmp_path / name, WIDE, n_trials=7, sampler=sampler(name), constraints=rules)
        for trial in bench.all():
            params = trial.params
            assert params["net.width"] % params["net.layers"] == 0
            assert params["optimizer.lr"] * params["net.width"] < 0.5
        assert len(set(bench.points())) == 7


def test_a_resumed_study_proposes_what_the_uninterrupted_one_would_have(tmp_path: Path) -> None:
    rules = ["net.width + net.layers != 7"]
    changes: dict[str, Any] = {"n_trials": 8, "constraints": rules, "sampler": sampler("TPESampler")}
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    whole = [trial.params for trial in Bench(tmp_path / "whole", NUMBERS, **changes).all()]
    first = Bench(tmp_path / "resumed", NUMBERS, **changes)
    for _ in range(3):
        assert first.step()
    first.database.engine.dispose()
    assert [trial.params for trial in Bench(tmp_path / "resumed", NUMBERS, **changes).all()] == whole


@pytest.mark.parametrize("name", SAMPLERS)
def test_points_are_those_that_come_of_what_optuna_reads(tmp_path: Path, name: str) -> None:
    points = []
    for place in ("ours", "theirs"):
        (tmp_path / place).mkdir()
        space = SMALL if "Grid" in name or "Brute" in name else NUMBERS
        bench = Bench(tmp_path / place, space, sampler=sampler(name))
        if place == "theirs":
            bench.study = optuna.load_study(study_name="s", storage=bench.database.backend)
            bench.queue = TrialQueue(bench.config, bench.study, bench.database, tmp_path / place)
        for state in [TrialState.COMPLETE] * 4 + [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]:
            bench.step(state=state)
        points.append(bench.points())
    assert points[0] == points[1]


def test_the_points_of_finished_trials_are_computed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, seen = Bench(tmp_path, WIDE), list[Any]()
    for _ in range(4):
        bench.step()
    held = bench.next()
    assert held is not None
    monkeypatch.setattr(new_points, "key", lambda space, params: (seen.append(params), key(space, params))[1])
    trials = bench.study.get_trials(deepcopy=False)
    proposals = Proposals(bench.config, bench.study)
    first = proposals.next_point(trials)
    assert seen == [*(trial.params for trial in trials), first and first.params]
    seen.clear()
    proposals.next_point(trials)
    assert seen == [trials[4].params, first and first.params], "of the one that runs, and of the proposal"


@pytest.mark.parametrize(
    "state", [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]
)
def test_a_point_of_any_trial_is_taken(tmp_path: Path, state: TrialState) -> None:
    space = {"net.width": {"choices": [4, 8]}}
    bench = Bench(tmp_path, space, n_trials=5)
    if state == TrialState.RUNNING:
        assert bench.next() is not None
    else:
        assert bench.step(state=state)
    second = bench.next()
    assert second is not None
    assert sorted(t.params["net.width"] for t in bench.study.get_trials()) == [4, 8]
    assert bench.next() is None and bench.queue.exhausted is not None


def test_an_interrupted_trial_keeps_its_point(tmp_path: Path) -> None:
    bench = Bench(tmp_path, SMALL, n_trials=3)
    first = bench.next()
    assert first is not None
    with bench.leases.writing(first.lease) as writer:
        writer.release()
    bench.held.clear()
    again = bench.next()
    assert again is not None and (again.number, again.values) == (0, first.values)


def test_two_workers_in_turn_make_each_point_once(url: str, tmp_path: Path) -> None:
    """Both kinds of databases; the workers hold their trials at the same time."""
    one, two = (Bench(tmp_path, BRANCHES, name, n_trials=9, storage=url) for name in ("one", "two"))
    while True:
        held = [bench.next() for bench in (one, two)]
        if held == [None, None]:
            break
        for bench, trial in zip((one, two), held, strict=True):
            if trial is not None:
                with bench.leases.writing(trial.lease) as writer:
                    writer.set_attributes(TrialAttributes(outcome="completed"))
                    writer.finish(TrialState.COMPLETE, [float(trial.number)])
    points = one.points()
    assert len(points) == len(set(points)) == 5
    assert one.queue.exhausted is not None and two.queue.exhausted is not None
    for bench in (one, two):
        bench.database.engine.dispose()


def test_a_space_without_a_feasible_point_makes_no_trial_and_says_which_constraint(tmp_path: Path) -> None:
    rules = ["net.width % 2 == 0", "net.width % 2 == 1"]
    bench = Bench(tmp_path, NUMBERS, n_trials=5, constraints=rules)
    assert bench.next() is None and bench.study.get_trials() == []
    reason = bench.queue.exhausted
    assert reason is not None and reason.infeasible
    assert str(reason) == (
        "none of the 9 points of the space meets the constraints; "
        "violated: net.width % 2 == 1 (6 times), net.width % 2 == 0 (3 times)"
    )


def test_a_region_that_nobody_hits_makes_no_trial_either(tmp_path: Path) -> None:
    bench = Bench(tmp_path, WIDE, n_trials=5, constraints=["optimizer.lr > 0.0999999999"])
    assert bench.next() is None and bench.study.get_trials() == []
    assert "none of 10,000 random points meets the constraints" in str(bench.queue.exhausted)


def test_enqueued_points_come_first_each_once(url: str, tmp_path: Path) -> None:
    points = [{"net.width": 6, "net.layers": 3}, {"net.layers": 2}]
    changes: dict[str, Any] = {"n_trials": 6, "storage": url, "enqueue": points}
    first = Bench(tmp_path, NUMBERS, **changes)
    assert first.step()
    first.database.engine.dispose()
    more = [*points, {"net.width": 4, "net.layers": 3}]  # the file has got a point more meanwhile
    changes["enqueue"] = more
    second, other = (Bench(tmp_path, NUMBERS, name, **changes) for name in ("second", "other"))
    held = [bench.next() for bench in (second, other, second)]
    found = second.study.get_trials()
    assert [trial is not None for trial in held] == [True] * 3
    assert found[0].params == points[0] and found[1].params["net.layers"] == 2
    assert found[2].params == {"net.width": 4, "net.layers": 3}
    assert [json.loads(t.user_attrs.get("enqueued", "null")) for t in found] == [*more, None]
    assert len({tuple(t.params.values()) for t in found}) == 4
    for bench in (second, other):
        bench.database.engine.dispose()


def test_an_enqueued_point_that_was_tried_is_not_tried_again(tmp_path: Path) -> None:
    space = {"net.width": {"choices": [4, 8]}}
    Bench(tmp_path, space, n_trials=2).all()
    bench = Bench(tmp_path, space, n_trials=3, enqueue=[{"net.width": 8}])
    assert len(bench.all()) == 2
    assert str(bench.queue.exhausted) == "all 2 points of the space have been tried"


def test_an_enqueued_point_whose_rest_has_been_tried_is_left_out_by_name(tmp_path: Path) -> None:
    space = {"net.width": {"choices": [4, 8]}, "batch_size": {"choices": [8, 16]}}
    Bench(tmp_path, space, n_trials=4).all()
    bench = Bench(tmp_path, space, n_trials=6, enqueue=[{"net.width": 8}])
    lines: list[str] = []
    bench.queue._proposals._on_message = lines.append
    assert not bench.step() and not bench.step()
    assert lines == [
        'the enqueued point {"net.width": 8} is left out: all 2 points of the space have been tried'
    ]


def test_an_enqueued_point_of_a_study_that_has_all_its_trials_is_left_out_by_name(tmp_path: Path) -> None:
    space = {"net.width": {"type": "int", "low": 4, "high": 90}}
    Bench(tmp_path, space, n_trials=2, enqueue=[{"net.width": 7}]).all()
    bench = Bench(tmp_path, space, n_trials=2, enqueue=[{"net.width": 7}, {"net.width": 8}])
    lines: list[str] = []
    bench.queue._proposals._on_message = lines.append
    assert not bench.step() and not bench.step()
    assert lines == [
        'the enqueued point {"net.width": 8} is left out: the study has its 2 trials; raise n_trials'
    ]


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_takes_enqueued_points(tmp_path: Path, name: str) -> None:
    points = [{"net.width": 6, "net.layers": 3}, {"net.width": 5}]
    bench = Bench(tmp_path, NUMBERS, n_trials=9, sampler=sampler(name), enqueue=points)
    found = bench.all()
    assert found[0].params == points[0] and found[1].params["net.width"] == 5
    assert len(found) == len(set(bench.points())) == 9


def test_a_trial_of_another_program_gets_a_point_that_is_free(tmp_path: Path) -> None:
    space = {"net.width": {"choices": [4, 8]}}
    bench = Bench(tmp_path, space, n_trials=4)
    assert bench.step()
    storage = bench.study._storage
    for _ in range(2):
        storage.create_new_trial(bench.study._study_id, create_trial(state=TrialState.WAITING))
    second = bench.next()
    assert second is not None and second.recipe is not None
    assert len({t.params["net.width"] for t in bench.study.get_trials()[:2]}) == 2
    third = bench.next()
    assert third is not None and third.recipe is None
    assert third.problem == "all 2 points of the space have been tried"


def test_a_point_that_was_enqueued_through_optuna_is_tried_as_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NUMBERS, n_trials=4, constraints=["net.width % net.layers == 0"])
    for _ in range(2):
        bench.study.enqueue_trial({"net.width": 5, "net.layers": 3})
    first, second = bench.next(), bench.next()
    assert first is not None and second is not None
    assert first.values == second.values == {"net.width": 5, "net.layers": 3}


def test_what_the_sampler_notes_is_stored_with_the_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path, NUMBERS, n_trials=9, sampler=sampler("NSGAIISampler"))
    generations = [t.system_attrs.get("NSGAIISampler:generation") for t in bench.all()]
    assert generations == [0, 0, 0, 1, 1, 1, 2, 2, 2]


optuna.logging.set_verbosity(optuna.logging.ERROR)
