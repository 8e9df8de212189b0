"""The order is written out here by hand: config key, then what the run began with, environment, default."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lab.config import ConfigError, RunConfig
from lab.config import wandb_environment as environment
from lab.config.tracker_config import WandbConfig
from lab.config.validation import validate

Make = Callable[..., RunConfig]
ALL = {
    "WANDB_PROJECT": "own", "WANDB_ENTITY": "team", "WANDB_NAME": "shown", "WANDB_RUN_GROUP": "sweep",
    "WANDB_JOB_TYPE": "eval", "WANDB_TAGS": "a, b,,c ", "WANDB_NOTES": "line one\nline two",
}  # fmt: skip


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ALL, "WANDB_MODE", "WANDB_DIR", "WANDB_RUN_ID", "WANDB_RESUME"):
        monkeypatch.delenv(name, raising=False)


def put(monkeypatch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def a_run(**values: Any) -> RunConfig:
    """A run with W&B, with no word of a name or project."""
    data = {"data": {"target": "lab.data.function"}, "net": {"target": "model.MLP"}}
    return validate(RunConfig, {**data, "trackers": ["tensorboard", {"type": "wandb"}], **values})


def tracker(config: RunConfig) -> WandbConfig:
    (found,) = [each for each in config.trackers if isinstance(each, WandbConfig)]
    return found


def test_the_environment_fills_in_what_the_config_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, ALL)
    config = environment.settled(a_run())
    found = tracker(config)
    assert config.project == "own" and config.name == "run", "the run's folder is none of W&B's"
    assert (found.entity, found.name, found.group, found.job_type) == ("team", "shown", "sweep", "eval")
    assert (found.tags, found.notes) == (("a", "b", "c"), "line one\nline two")


@pytest.mark.parametrize("project", ["lab", "mine"])
def test_what_the_config_says_wins_be_it_the_default(monkeypatch: pytest.MonkeyPatch, project: str) -> None:
    put(monkeypatch, ALL)
    stated: dict[str, Any] = {
        "type": "wandb",
        "entity": "e",
        "name": "n",
        "group": "g",
        "job_type": "j",
        "notes": "t",
    }
    stated |= {"tags": ["x"]}
    config = environment.settled(a_run(project=project, trackers=[stated]))
    assert config.project == project
    assert tracker(config).model_dump(exclude={"mode", "images", "timeout"}) == {**stated, "tags": ("x",)}


def test_a_name_in_the_config_is_that_of_the_wandb_run(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"WANDB_NAME": "shown"})
    assert tracker(environment.settled(a_run(name="mine"))).name is None
    assert tracker(environment.settled(a_run(name="run"))).name is None


def test_without_the_variables_there_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, dict.fromkeys(ALL, ""))
    config = environment.settled(a_run())
    assert (config.project, tracker(config)) == ("lab", WandbConfig(type="wandb"))


def test_without_wandb_the_environment_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {**ALL, "WANDB_MODE": "nonsense"})
    for trackers in ([], ["tensorboard"]):
        config = a_run(trackers=trackers)
        assert environment.settled(config) is config and config.project == "lab"


def test_what_was_settled_survives_every_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other values of one seed, plain data, a file: none of them reads the environment again."""
    put(monkeypatch, ALL)
    first = environment.settled(a_run(seeds=[0, 1]))
    put(monkeypatch, {"WANDB_PROJECT": "another", "WANDB_ENTITY": "another", "WANDB_TAGS": "another"})
    for copy in (first.with_values({"seeds": [1]}), validate(RunConfig, first.as_data())):
        again = environment.settled(copy, first.as_data())
        assert again.project == "own" and tracker(again) == tracker(first)


def test_a_project_that_was_written_is_known_as_such_after_every_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(monkeypatch, {"WANDB_PROJECT": "own"})
    assert environment.settled(a_run(project="lab").with_values({"epochs": 3})).project == "lab"
    assert environment.settled(a_run().with_values({"epochs": 3})).project == "own"


def test_a_resumed_run_keeps_what_it_began_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that it began without is added: another entity would be another place."""
    began = environment.settled(a_run()).as_data()
    put(monkeypatch, ALL)
    for config in (a_run(), validate(RunConfig, began)):
        found = environment.settled(config, began)
        assert found.project == "lab" and tracker(found) == WandbConfig(type="wandb")
    changed = environment.settled(a_run(project="moved", trackers=[{"type": "wandb", "tags": ["x"]}]), began)
    assert changed.project == "moved" and tracker(changed).tags == ("x",), "the config comes first"


def test_of_a_run_from_before_this_the_environment_counts_as_it_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W&B itself took the entity from the environment then; the project was the config's."""
    put(monkeypatch, ALL)
    old = {"project": "lab", "trackers": [{"type": "wandb", "mode": "auto", "entity": None, "tags": []}]}
    found = environment.settled(a_run(**old), old)
    assert (found.project, tracker(found).entity) == ("lab", "team")


@pytest.mark.parametrize(
    ("mode", "variable", "expected"),
    [
        ("auto", "", "auto"), ("auto", "online", "online"), ("auto", "run", "online"),
        ("auto", "shared", "online"), ("auto", "offline", "offline"), ("auto", "dryrun", "offline"),
        ("auto", "disabled", "disabled"), ("online", "disabled", "online"), ("offline", "online", "offline"),
        ("disabled", "online", "disabled"),
    ],
)  # fmt: skip
def test_the_mode(monkeypatch: pytest.MonkeyPatch, mode: Any, variable: str, expected: str) -> None:
    put(monkeypatch, {"WANDB_MODE": variable})
    assert environment.mode_of(WandbConfig(type="wandb", mode=mode)) == expected


def test_the_modes_are_those_of_the_installed_wandb() -> None:
    from typing import get_args

    import wandb

    assert set(environment.MODES) == set(get_args(wandb.Settings.model_fields["mode"].annotation))


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("WANDB_MODE", "onlin", "online, offline, disabled, shared, dryrun, run"),
        ("WANDB_MODE", "Offline", "'Offline'"),
        ("WANDB_PROJECT", "a/b", "at most 128 characters and none of"),
        ("WANDB_PROJECT", "p" * 129, "128 characters"),
        ("WANDB_TAGS", "short," + "t" * 65, "64 characters a tag"),
        ("WANDB_RUN_ID", "a:b", "none of"),
        ("WANDB_DIR", "$SCRATCH/wandb", "variables are not expanded in a path, and $SCRATCH is one"),
        ("WANDB_DIR", "${SCRATCH}", "${SCRATCH} is one"),
        ("WANDB_DIR", "~nobody-here/wandb", "there is no user 'nobody-here'"),
    ],
)
def test_what_wandb_would_not_take_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, named: str
) -> None:
    put(monkeypatch, {variable: value})
    with pytest.raises(ConfigError) as raised:
        environment.settled(a_run())
    assert variable in str(raised.value) and named in str(raised.value)


WRONG = {"WANDB_PROJECT": "a/b", "WANDB_TAGS": "t" * 65, "WANDB_RUN_ID": "a:b"}


def test_what_wandb_would_not_take_is_no_problem_where_it_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(monkeypatch, {**WRONG, "WANDB_MODE": "onlin"})
    tracker = {"type": "wandb", "mode": "offline", "tags": ["x"]}
    config = RunConfig.model_validate({**a_run().as_data(), "project": "mine", "trackers": [tracker]})
    assert [problem.message.split()[0] for problem in environment.problems_of(config)] == ["WANDB_RUN_ID"]
    assert len(list(environment.problems_of(a_run()))) == 4
    monkeypatch.delenv("WANDB_MODE")
    begun = a_run().as_data()
    assert environment.settled(a_run(), begun).project == begun["project"]


def test_what_does_not_count_is_named_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    put(
        monkeypatch,
        {"WANDB_PROJECT": "own", "WANDB_TAGS": "a,b", "WANDB_ENTITY": "team", "WANDB_MODE": "online"},
    )
    stated = WandbConfig(type="wandb", tags=("x", "y"), entity="team", mode="offline")
    assert environment.overruled(stated, "lab", {}) == [
        "WANDB_PROJECT (it is lab)", "WANDB_MODE (it is offline)", "WANDB_TAGS (it is x,y)",
    ]  # fmt: skip
    put(monkeypatch, {"WANDB_MODE": "dryrun", "WANDB_NAME": "n"})
    assert environment.overruled(stated, "own", {"WANDB_NAME": None, "WANDB_RUN_ID": None}) == [
        "WANDB_NAME", "WANDB_TAGS (it is x,y)",
    ]  # fmt: skip


def test_the_table_of_the_docs_has_every_variable_and_its_key() -> None:
    text = (Path(__file__).parents[3] / "docs" / "trackers.md").read_text()
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| `WANDB_")]
    rows = {cells[1].strip(): cells[2] for cells in lines}
    for variable, key in environment.FIELDS.items():
        assert f"`{key}`" in rows[f"`{variable}`"]
    for variable in ("MODE", "PROJECT", "DIR", "RUN_ID", "RESUME"):
        assert f"`WANDB_{variable}`" in rows
    assert all(f"`{mode}`" in text for mode in environment.MODES)


def test_the_folder_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    for value, expected in ((" ", None), ("w b", tmp_path / "w b"), ("~/w", Path("/home/me/w"))):
        put(monkeypatch, {"WANDB_DIR": value})
        assert environment.directory() == expected
