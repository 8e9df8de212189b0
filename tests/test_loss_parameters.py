"""A loss with parameters of its own: trained as a plain loop trains it, or refused by name."""

import copy
import json
import math
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lab import checkpoint
from lab.config import ConfigError, RunConfig
from lab.events import Callback, Note
from lab.tasks import Task
from lab.train.preflight import preflight
from lab.train.progress import NotFinite
from util import Trainer, run

HERE = "tests.test_loss_parameters."
X = torch.linspace(-1, 1, 24)[:, None] ** torch.arange(1, 4)
Y = X.sum(1, keepdim=True) + 0.3
Config = Callable[..., RunConfig]


def points() -> tuple[TensorDataset, TensorDataset]:
    return TensorDataset(X, Y), TensorDataset(X[:8], Y[:8])


class Noise(nn.Module):
    """The negative log likelihood of a normal distribution whose width is learnt."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.log_noise = nn.Parameter(torch.tensor(start))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        result: Tensor = (output - target).square().mean() * torch.exp(-self.log_noise) + self.log_noise
        return result


class Drawn(nn.Module):
    """A projection that is drawn at random when it is built."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(1, 5)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        result: Tensor = (self.project(output) - self.project(target)).square().mean()
        return result


class Plain:
    """No module: it holds a parameter, and a module in a list."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.terms = [nn.L1Loss(), Noise()]

    def __call__(self, output: Tensor, target: Tensor) -> Tensor:
        result: Tensor = sum(term(output * self.scale, target) for term in self.terms)  # type: ignore[assignment]
        return result


class Weighing(Task):
    """A task whose step weighs by a parameter of its own."""

    def __init__(self) -> None:
        self.weight = nn.Parameter(torch.zeros(()))

    def step(self, model: Any, criterion: Any, batch: Any) -> Any:
        result = super().step(model, criterion, batch)
        return result._replace(loss=result.loss * torch.exp(-self.weight) + self.weight)


class Judge(nn.Module):
    """A metric with a network that nobody froze."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)

    def reset(self) -> None: ...

    def update(self, prediction: Tensor, target: Tensor) -> None: ...

    def compute(self) -> float:
        return 0.0


INSTANCE = Noise(0.25)


def with_noise(output: Tensor, target: Tensor, noise: nn.Module) -> Any:
    return noise(output, target)


def made(config: Config, **values: Any) -> RunConfig:
    base = {
        "data": HERE + "points",
        "net": {"target": "torch.nn.Linear", "in_features": 3, "out_features": 1},
    }
    return config(**{**base, "batch_size": 8, "criterion": HERE + "Noise", "val": None, **values})


def prepared(config: RunConfig) -> Trainer:
    return Trainer.from_config(config, batches=3)


class Notes(Callback):
    def __init__(self) -> None:
        self.notes: list[Note] = []

    def on_note(self, event: Note) -> None:
        self.notes.append(event)


# --- trained ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criterion", "options", "extra"),
    [
        ("Noise", {}, {}),
        ("Noise", {"lr": 0.05, "weight_decay": 0.0}, {}),
        ("Drawn", {"betas": [0.5, 0.9]}, {"gradient_clip_norm": 0.1}),
        ("Plain", {"lr": 0.05}, {"scheduler": {"target": "torch.optim.lr_scheduler.StepLR", "step_size": 1}}),
    ],
)
def test_as_a_plain_loop_trains_it(
    config: Config, criterion: str, options: dict[str, Any], extra: dict[str, Any]
) -> None:
    """Two groups of one optimizer, to the bit."""
    settings = made(config, **{"criterion": HERE + criterion, "criterion_optimizer": options, **extra})
    ours = prepared(settings)
    net, loss = copy.deepcopy(ours.model), copy.deepcopy(ours.criterion)
    own = (
        list(loss.parameters()) if isinstance(loss, nn.Module) else [loss.scale, *loss.terms[1].parameters()]
    )
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    groups = [{"params": list(net.parameters())}, {"params": own, **options}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, fused=True)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1) if "scheduler" in extra else None
    ours.train(DataLoader(points()[0], 8), None, 2)
    for _ in range(2):
        for x, y in DataLoader(points()[0], 8):
            optimizer.zero_grad()
            loss(net(x), y).backward()
            if "gradient_clip_norm" in extra:
                nn.utils.clip_grad_norm_([*net.parameters(), *own], 0.1)
            optimizer.step()
        if scheduler is not None:
            scheduler.step()
    trained = list(ours.reach.loss.values())
    assert [len(group["params"]) for group in ours.optimizer.param_groups] == [2, len(own)]
    assert all(torch.equal(a, b) for a, b in zip(trained, own, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(ours.model.parameters(), net.parameters(), strict=True))
    assert not torch.equal(own[0], next(iter(prepared(settings).reach.loss.values())))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"criterion": HERE + "Noise"}, ["criterion.log_noise"]),
        ({"criterion": HERE + "INSTANCE"}, ["criterion.log_noise"]),
        ({"criterion": HERE + "Plain"}, ["criterion.scale", "criterion.terms.1.log_noise"]),
        (
            {"criterion": {"target": HERE + "with_noise", "noise": {"target": HERE + "Noise"}}},
            ["criterion.noise.log_noise"],
        ),
        ({"criterion": "torch.nn.MSELoss", "task": HERE + "Weighing"}, ["task.weight"]),
        ({"task": HERE + "Weighing"}, ["criterion.log_noise", "task.weight"]),
        ({"criterion": "torch.nn.MSELoss"}, []),
        ({"criterion": "torch.nn.functional.mse_loss"}, []),
    ],
)
def test_where_they_may_be(config: Config, values: dict[str, Any], names: list[str]) -> None:
    trainer = prepared(made(config, **values))
    assert list(trainer.reach.loss) == names and trainer.reach.count == len(names)
    before = {name: p.detach().clone() for name, p in trainer.reach.loss.items()}
    listener = Notes()
    trainer.callbacks.callbacks = [listener]
    trainer.train(DataLoader(points()[0], 8), None, 1)
    assert all(not torch.equal(before[name], p) for name, p in trainer.reach.loss.items())
    expected = [f"trained together with the network: {', '.join(names)}"] if names else []
    assert [note.message for note in listener.notes] == expected


def test_a_random_loss_leaves_the_networks_beginning_alone(config: Config) -> None:
    plain, drawn = (prepared(made(config, criterion=c)) for c in ("torch.nn.MSELoss", HERE + "Drawn"))
    assert all(map(torch.equal, plain.model.parameters(), drawn.model.parameters()))
    again = prepared(made(config, criterion=HERE + "Drawn"))
    assert torch.equal(drawn.criterion.project.weight, again.criterion.project.weight)


def test_an_instance_is_not_shared_by_seeds(config: Config, workplace: Path) -> None:
    result = run(made(config, criterion=HERE + "INSTANCE", seeds=[0, 0 + 1]), console="silent")
    alone = run(made(config, criterion=HERE + "INSTANCE", seeds=[1]), console="silent")
    last = json.loads((result.run_dir / "seed_1" / "summary.json").read_text())["last"]["train_loss"]
    assert last == alone.last["train_loss"]
    assert INSTANCE.log_noise.item() == 0.25


def test_what_belongs_to_the_network_is_trained_once() -> None:
    class Regularised(nn.Module):
        def __init__(self, layer: nn.Linear) -> None:
            super().__init__()
            self.layer, self.strength = layer, nn.Parameter(torch.ones(()))

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (output - target).square().mean() + self.strength * self.layer.weight.square().sum()

    model = nn.Linear(3, 1)
    criterion = Regularised(model)
    settings = RunConfig.model_validate({"data": HERE + "points", "net": "torch.nn.Linear"})
    optimizer = settings.create_optimizer(model, criterion)
    assert [group["params"] for group in optimizer.param_groups] == [
        list(model.parameters()),
        [criterion.strength],
    ]


@pytest.mark.parametrize("frozen", ["requires_grad", "all"])
def test_what_is_frozen_stays(config: Config, frozen: str) -> None:
    criterion = Drawn()
    criterion.project.bias.requires_grad_(False)
    if frozen == "all":
        criterion.requires_grad_(False)
    optimizer = made(config).create_optimizer(nn.Linear(3, 1), criterion)
    trained = [group["params"] for group in optimizer.param_groups[1:]]
    assert trained == ([[criterion.project.weight]] if frozen == "requires_grad" else [])


# --- an optimizer of one's own ----------------------------------------------------------------------------


def by_size(params: Any, lr: float = 0.1) -> torch.optim.Optimizer:
    """No decay for what has no dimensions."""
    params = list(params)
    groups = [{"params": [p for p in params if p.dim()], "weight_decay": 0.1}]
    groups += (
        [{"params": scalars, "weight_decay": 0.0}] if (scalars := [p for p in params if not p.dim()]) else []
    )
    return torch.optim.SGD(groups, lr=lr)


class Sealed:
    """An optimizer that knows nothing of groups to come."""

    def __init__(self, params: Any) -> None:
        self.param_groups = [{"params": list(params), "lr": 0.1}]


def test_a_function_makes_its_groups_for_the_loss_too(config: Config) -> None:
    settings = made(
        config, optimizer=HERE + "by_size", criterion=HERE + "Plain", criterion_optimizer={"lr": 0.2}
    )
    groups = prepared(settings).optimizer.param_groups
    assert [(len(g["params"]), g["weight_decay"], g["lr"]) for g in groups if g["params"]] == [
        (2, 0.1, 0.1),
        (2, 0.0, 0.2),
    ]


def problem(settings: RunConfig, check: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        settings.check() if check else prepared(settings)
    [found] = caught.value.problems
    return str(found)


def test_refused_by_name(config: Config) -> None:
    def options(**values: Any) -> RunConfig:
        return made(config, criterion_optimizer=values)

    assert "criterion_optimizer.lrr: AdamW takes no 'lrr'; did you mean 'lr'?" in problem(
        options(lrr=0.1), True
    )
    assert "criterion_optimizer.target: the loss's parameters are in the optimizer of the" in problem(
        options(target="torch.optim.SGD"), True
    )
    assert "criterion_optimizer.params: AdamW gets 'params' from the run" in problem(options(params=1), True)
    assert "criterion_optimizer.lr: " in problem(options(lr="fast"), True)
    found = problem(options(lr=-0.1))
    assert found.startswith(
        "criterion_optimizer: torch.optim.AdamW can't be built: Invalid learning rate: -0.1"
    )
    assert found.endswith("(for criterion.log_noise)")
    found = problem(made(config, criterion="torch.nn.MSELoss", criterion_optimizer={"lr": 0.1}))
    assert found.startswith("criterion_optimizer: the loss has no parameters to train; remove it")
    found = problem(made(config, optimizer=HERE + "Sealed"))
    assert "takes no further parameters" in found and "criterion.log_noise" in found
    options(lr=0.01, weight_decay=0, betas=[0.9, 0.99]).check()


@pytest.mark.parametrize("largest", [0.1, [0.1, 0.2]])
def test_a_scheduler_that_sets_every_rate(config: Config, largest: Any) -> None:
    cycle = {"target": "torch.optim.lr_scheduler.OneCycleLR", "max_lr": largest, "total_steps": 6}
    settings = made(config, scheduler={**cycle, "interval": "step"}, criterion_optimizer={"lr": 0.5})
    first = 0.2 / 25 if isinstance(largest, list) else 0.1 / 25
    found = problem(settings)
    assert found.startswith(f"criterion_optimizer.lr: has no effect: {cycle['target']} begins with")
    assert f"here {first:g}; " in found
    groups = prepared(settings.with_values({"criterion_optimizer": {}})).optimizer.param_groups
    assert groups[1]["lr"] == pytest.approx(first)


# --- a run and what it reports ----------------------------------------------------------------------------


def test_a_run_and_its_resume(config: Config, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values: dict[str, Any] = {"val": "auto", "accumulate_grad_batches": 2, "checkpoint.every_n_steps": 2}
    whole = run(made(config, epochs=4, name="whole", **values), console="plain")
    printed = capsys.readouterr().out
    assert re.search(r"^Device   cpu; model 4 parameters, 0.00 MB; loss 1 more$", printed, re.MULTILINE)
    assert "trained together with the network: criterion.log_noise" in printed
    assert json.loads((whole.run_dir / "summary.json").read_text())["loss_parameters"] == 1
    half = run(made(config, epochs=2, name="half", **values), console="silent")
    again = run(
        made(config, epochs=4, name="half", **values), run_dir=half.run_dir, resume=True, console="silent"
    )
    ends = [checkpoint.load(r.run_dir / "checkpoints" / "last.pt") for r in (whole, again)]
    assert ends[0]["optimizer"]["param_groups"][1]["params"] == [2]
    moments = [end["optimizer"]["state"][2]["exp_avg"] for end in ends]
    assert torch.equal(*moments) and again.last["train_loss"] == whole.last["train_loss"]


@pytest.mark.parametrize("name", ["Noise", "Plain", "Drawn", "Weighing"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_to_the_bit(config: Config, workplace: Path, name: str, accumulate: int) -> None:
    values: dict[str, Any] = {"criterion": HERE + name, "accumulate_grad_batches": accumulate}
    if name == "Weighing":
        values |= {"criterion": "torch.nn.L1Loss", "task": HERE + name}
    whole, half = (run(made(config, epochs=n, **values), console="silent") for n in (4, 2))
    again = run(made(config, epochs=4, **values), run_dir=half.run_dir, resume=True, console="silent")
    assert again.last["train_loss"] == whole.last["train_loss"]
    ends = [checkpoint.load(result.run_dir / "checkpoints" / "last.pt") for result in (whole, again)]
    for number, state in ends[0]["optimizer"]["state"].items():
        assert all(torch.equal(state[key], ends[1]["optimizer"]["state"][number][key]) for key in state)


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_a_stretched_schedule_keeps_both_rates(config: Config, workplace: Path, interval: str) -> None:
    """Half a cosine of its own for each group, which an extended run follows from where it stands."""
    cosine = {"target": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": "auto", "interval": interval}
    values: dict[str, Any] = {"scheduler": cosine, "criterion_optimizer": {"lr": 0.1}}
    half = run(made(config, epochs=2, **values), console="silent")
    values["checkpoint.every_epochs"] = 1
    again = run(made(config, epochs=4, **values), run_dir=half.run_dir, resume=True, console="silent")
    state = checkpoint.load(again.run_dir / "checkpoints" / "epoch_0003.pt")["optimizer"]
    share = (1 + math.cos(math.pi * 3 / 4)) / 2
    rates = [group["lr"] for group in state["param_groups"]]
    assert rates == pytest.approx([1e-3 * share, 0.1 * share], rel=1e-6)


def refused_resume(settings: RunConfig, folder: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        run(settings, run_dir=folder, resume=True, console="silent")
    return " ".join(map(str, caught.value.problems))


def test_resumes_that_are_refused(config: Config, workplace: Path) -> None:
    before = run(made(config, criterion="torch.nn.MSELoss"), console="silent").run_dir
    found = refused_resume(made(config, epochs=4), before)
    assert "groups of [2] parameters, here [2, 1]; the loss's own parameters were not trained then" in found
    after = run(made(config), console="silent").run_dir
    found = refused_resume(made(config, criterion="torch.nn.MSELoss", epochs=4), after)
    assert "groups of [2, 1] parameters, here [2]; the loss's own parameters were trained then" in found
    found = refused_resume(made(config, epochs=4, criterion_optimizer={"lr": 0.5}), after)
    assert found.startswith("criterion_optimizer")
    path = after / "checkpoints" / "last.pt"  # of a time before there was such a setting
    content = checkpoint.load(path)
    del content["config"]["criterion_optimizer"]
    checkpoint.save(path, content)
    assert run(made(config, epochs=4), run_dir=after, resume=True, console="silent").epochs == 4


def test_check_names_them(config: Config, workplace: Path) -> None:
    report = preflight(made(config, metrics={"judge": HERE + "Judge"}, val="auto"), Trainer.from_config)
    assert report.passed and report.figures["parameters of the loss"] == "1: criterion.log_noise"
    assert report.figures["gradients reach"] == "3 of 3 trained parameters"
    text = "metrics.judge.net.weight, metrics.judge.net.bias: parameters of a metric, which are not trained"
    assert text in report.notes


class Aside(nn.Module):
    """Depends on its own parameter alone."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.idle = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return self.own.square()


def test_check_of_a_loss_that_trains_itself_alone(config: Config, workplace: Path) -> None:
    report = preflight(made(config, criterion=HERE + "Aside"), Trainer.from_config)
    assert any("the loss doesn't depend on the network" in fault for fault in report.faults)
    assert any("no gradient reaches weight, bias, criterion.idle" in note for note in report.warnings)


def test_a_trainer_whose_optimizer_lacks_them() -> None:
    model, criterion, listener = nn.Linear(3, 1), Noise(), Notes()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(points()[0], 8)
    Trainer(model, optimizer, None, criterion, callbacks=[listener]).train(loader, loader, 2)
    [note] = listener.notes
    assert note.level == "warning"
    assert note.message.startswith("criterion.log_noise: not trained: the optimizer was created without it")
    assert criterion.log_noise.item() == 0.0


def noted(criterion: Any) -> str:
    model, listener, loader = nn.Linear(3, 1), Notes(), DataLoader(points()[0], 8)
    settings = RunConfig.model_validate({"data": HERE + "points", "net": "torch.nn.Linear"})
    optimizer = settings.create_optimizer(model, criterion)
    Trainer(model, optimizer, None, criterion, callbacks=[listener]).train(loader, loader, 2)
    return " / ".join(note.message for note in listener.notes)


def with_global(output: Tensor, target: Tensor) -> Any:
    return INSTANCE(output, target)


def test_modules_that_come_late_or_from_elsewhere() -> None:
    class Late(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            if not hasattr(self, "weight"):
                self.weight = nn.Parameter(torch.ones(()))
            return ((output - target) * self.weight).square().mean()

    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = nn.LazyLinear(2)

        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            return (self.project(output) - self.project(target)).square().mean()

    assert noted(Late()).startswith("criterion.weight: not trained: the optimizer was created without it")
    assert noted(with_global).startswith("the criterion uses the module INSTANCE of its file, which is no ")
    lazy = Lazy()
    assert "trained together with the network: criterion.project.weight, criterion.project" in noted(lazy)


def test_a_parameter_that_is_not_finite_is_no_checkpoint() -> None:
    class Exploding(Noise):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            if output.requires_grad:
                self.log_noise.data.fill_(torch.inf)
            return (output - target).square().mean()

    model, criterion = nn.Linear(3, 1), Exploding()
    trainer = Trainer(
        model, torch.optim.SGD([*model.parameters(), *criterion.parameters()], lr=0.1), None, criterion,
        callbacks=(), every_n_steps=1,
    )  # fmt: skip
    with pytest.raises(NotFinite, match="a weight is not finite after step 1"):
        trainer.train_epoch(DataLoader(points()[0], 8))


def test_gradients_of_a_group_of_batches_are_divided(config: Config) -> None:
    """A loss whose denominators aren't known: three batches of 8 give the step of one batch of 24."""
    steps = []
    for size, batches in ((8, 3), (24, 1)):
        settings = made(
            config, accumulate_grad_batches=batches, optimizer={"target": "torch.optim.SGD", "lr": 0.1}
        )
        trainer = prepared(settings)
        trainer.train(DataLoader(points()[0], size), None, 1)
        steps.append(float(trainer.criterion.log_noise.detach()))
    assert steps[0] == pytest.approx(steps[1], rel=1e-5) and steps[0] != 0


def test_a_study_searches_their_rate(
    main_py: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    text = f"""
study_name: rates
n_trials: 2
sampler: {{target: optuna.samplers.GridSampler}}
run: {{epochs: 1, batch_size: 8, device: cpu, data: {HERE}points, criterion: {HERE}Noise,
      pictures: {{enabled: false}}, net: {{target: torch.nn.Linear, in_features: 3, out_features: 1}}}}
search_space: {{criterion_optimizer.lr: {{choices: [0.01, 0.3]}}}}
"""
    done = main_py("--optimize", "run.yaml", config=text)
    assert done.returncode == 0, done.stdout + done.stderr
    trials = [json.loads(path.read_text()) for path in tmp_path.glob("studies/rates/**/summary.json")]
    found = {trial["config"]["criterion_optimizer"]["lr"]: trial["last"]["val_loss"] for trial in trials}
    for rate in (0.01, 0.3):
        settings = RunConfig.model_validate(trials[0]["config"]).with_values({"criterion_optimizer.lr": rate})
        alone = run(settings, run_dir=tmp_path / str(rate), console="silent")
        assert found[rate] == alone.last["val_loss"]
    assert found[0.01] != found[0.3]
