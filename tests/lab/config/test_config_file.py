"""Config files and `--set`: what is read, and what is said of a mistake."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import ConfigError, Problem, RunConfig, config_file

FILE = """\
net: model.MLP
data:
  target: lab.data.function
  transforms:
    - {target: a.First, p: 0.1}
    - {target: a.Second, p: 0.2}
trackers: [wandb]
monitor: val_loss
seeds: [1, 2]
scheduler: null
tables: {1: one, a.b: two}
"""
DEFAULTS = RunConfig.defaults()


def changed(*assignments: str) -> dict[str, Any]:
    """The file's data with assignments that have no problems."""
    document = config_file.override(config_file.parse(FILE, "f.yaml"), assignments, DEFAULTS)
    assert document.problems == []
    return document.data


def said(*assignments: str) -> list[str]:
    """What is said of assignments."""
    return [
        str(p)
        for p in config_file.override(config_file.parse(FILE, "f.yaml"), assignments, DEFAULTS).problems
    ]


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        config_file.read(path)
    return str(caught.value)


def test_reads_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes("name: ü\n".encode("utf-8-sig"))
    document = config_file.read(file)
    assert document.data == {"name": "ü"}
    assert document.where(("name",)) == f"{file}:1"


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    for name in ("run.yaml", "digits.yaml", "other.yml", "text.txt"):
        (tmp_path / name).touch()
    assert refused(tmp_path / "rnu.yaml") == (
        f"{tmp_path}/rnu.yaml: there is no such file in {tmp_path}; did you mean 'run.yaml'?"
    )
    assert refused(tmp_path / "zzz").endswith("; known: digits.yaml, other.yml, run.yaml")
    assert refused(tmp_path / "no" / "f.yaml") == f"{tmp_path}/no/f.yaml: there is no such file"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "f.yaml:1: a config is a mapping of keys to values; it is empty"),
        (b"# nothing\n", "f.yaml:1: a config is a mapping of keys to values; it is empty"),
        (b"\n- 1\n- 2\n", "f.yaml:2: a config is a mapping of keys to values; found [1, 2] (list)"),
        (b"text\n", "f.yaml:1: a config is a mapping of keys to values; found 'text' (text)"),
        (b"a: 1\nb: \xff\n", "f.yaml:2: is not UTF-8 text; save it as UTF-8"),
        ("a: 1\n".encode("utf-16"), "f.yaml:1: is not UTF-8 text; save it as UTF-8"),
        (b"a" * 10_000_000, "f.yaml: is larger than 1,000,000 bytes, the most that a config may have"),
        (b"a: \x00\n", r"f.yaml:1: has the character '\x00', which no text has"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "f.yaml"
    file.write_bytes(content)
    assert refused(file) == f"{tmp_path}/{message}"


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    assert refused(tmp_path) == f"{tmp_path}: can't be read: Is a directory"


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    try:
        assert isinstance(config_file.read(file).data, dict)
    except ConfigError as error:
        assert all(problem.where.startswith(f"{file}:") for problem in error.problems)


def test_where_is_the_nearest_written_ancestor() -> None:
    document = config_file.parse(FILE, "f.yaml")
    assert document.where(("data", "transforms", 1, "p")) == "f.yaml:6"
    assert document.where(("data", "transforms", 1, "missing", "deeper")) == "f.yaml:6"
    assert document.where(("data", "missing")) == "f.yaml:2"
    assert document.where(("optimizer", "lr")) == "f.yaml:1"


def test_problems_come_in_the_order_of_lines_and_overrides_last() -> None:
    document = config_file.override(config_file.parse("a: 1\n" * 1 + "b: 2\nc: 3\n", "f.yaml"), ["a=5"], {})
    error = ConfigError([Problem((name,), "!") for name in "acb"], "a note")
    located = document.located(error)
    assert [str(p) for p in located.problems] == ["f.yaml:2: b: !", "f.yaml:3: c: !", "--set a=5: a: !"]
    assert located.note == "a note"


@pytest.mark.parametrize(
    ("assignment", "path", "expected"),
    [
        ("name=x", ("name",), "x"),
        ("name=a=b", ("name",), "a=b"),
        (" name = x ", ("name",), "x"),
        ("name=", ("name",), None),
        ("name=null", ("name",), None),
        ("name='1e-3'", ("name",), "1e-3"),
        ("data.transforms.1.p=0.5", ("data", "transforms", 1, "p"), 0.5),
        ("data.transforms.0=x.Y", ("data", "transforms", 0), "x.Y"),
        ("seeds.1=7", ("seeds",), [1, 7]),
        ("seeds=[3]", ("seeds",), [3]),
        ("net=model.ConvNet", ("net",), "model.ConvNet"),
        ("net.width=8", ("net",), {"target": "model.MLP", "width": 8}),
        ("net.body.depth=8", ("net",), {"target": "model.MLP", "body": {"depth": 8}}),
        ("trackers.0.mode=offline", ("trackers",), [{"type": "wandb", "mode": "offline"}]),
        ("monitor.mode=max", ("monitor",), {"metric": "val_loss", "mode": "max"}),
        ("ema.decay=0.9", ("ema",), {"decay": 0.9}),
        ("scheduler.T_max=auto", ("scheduler",), {"T_max": "auto"}),
        ("scheduler={target: a.B, T_max: auto}", ("scheduler",), {"target": "a.B", "T_max": "auto"}),
        ("optimizer.lr=1e-1", ("optimizer",), {"target": "torch.optim.AdamW", "lr": 0.1}),
        ("optimizer.target=a.B", ("optimizer",), {"target": "a.B", "lr": 0.001}),
        ("checkpoint.every_epochs=3", ("checkpoint",), {"every_epochs": 3}),
        ("metrics.mae=lab.metrics.MAE", ("metrics",), {"mae": "lab.metrics.MAE"}),
        ("task.x=1", ("task",), {"target": "lab.tasks.Regression", "x": 1}),
        ("tables.1=eins", ("tables",), {1: "eins", "a.b": "two"}),
        ("tables.'a.b'=zwei", ("tables",), {1: "one", "a.b": "zwei"}),
        ("tables.'a.c'=drei", ("tables",), {1: "one", "a.b": "two", "a.c": "drei"}),
    ],
)
def test_set_reaches_every_path(assignment: str, path: tuple[Any, ...], expected: Any) -> None:
    value: Any = changed(assignment)
    for part in path:
        value = value[part]
    assert value == expected
    assert type(value) is type(expected)


def test_later_assignments_build_on_earlier_ones() -> None:
    assert changed("net=model.ConvNet", "net.width=4", "net.width=5")["net"] == {
        "target": "model.ConvNet",
        "width": 5,
    }
    assert changed("net.width=4", "net=model.ConvNet")["net"] == "model.ConvNet"


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epochs", "expected path=value, such as optimizer.lr=1e-3"),
        ("=3", "expected path=value, such as optimizer.lr=1e-3"),
        ("", "expected path=value, such as optimizer.lr=1e-3"),
        ("a..b=3", "expected path=value, such as optimizer.lr=1e-3"),
        (".a=3", "expected path=value, such as optimizer.lr=1e-3"),
        ("a.=3", "expected path=value, such as optimizer.lr=1e-3"),
        ("seeds.2=3", "seeds.2: '2' is no position in it: found a list of 2, counted from 0"),
        ("seeds.-1=3", "seeds.-1: '-1' is no position in it: found a list of 2, counted from 0"),
        ("seeds.x=3", "seeds.x: 'x' is no position in it: found a list of 2, counted from 0"),
        ("seeds.²=3", "seeds.²: '²' is no position in it: found a list of 2, counted from 0"),
        ("seeds.0.x=3", "seeds.0: has no part 'x': found 1 (whole number)"),
        ("epochs.x=3", "epochs: has no part 'x': found 10 (whole number)"),
        ("device.x=3", "device: has no part 'x': found 'auto' (text)"),
        ("data.transforms.1.p.q=3", "data.transforms.1.p: has no part 'q': found 0.2 (number)"),
        ("name=[", "is not valid YAML: while parsing a flow node did not find expected node content"),
        ("name={a: 1, a: 2}", "name: the key 'a' is given twice, first in line 1; keep one"),
        ("name=!x 3", "has the tag '!x'; a config has no tags"),
        ("name=\udcff", r"has the character '\udcff', which no text has"),
    ],
)
def test_an_assignment_that_cannot_be(assignment: str, message: str) -> None:
    assert said(assignment) == [f"--set {assignment}: {message}"]


def test_all_wrong_assignments_are_told() -> None:
    assert [text.split(": ")[0] for text in said("x", "epochs=3", "seeds.9=1", "=")] == [
        "--set x",
        "--set seeds.9=1",
        "--set =",
    ]


def test_the_document_and_the_defaults_stay_as_they_were() -> None:
    document = config_file.parse(FILE, "f.yaml")
    defaults = RunConfig.defaults()
    config_file.override(document, ["optimizer.lr=5", "seeds.0=9", "x", "net.width=3"], defaults)
    assert document == config_file.parse(FILE, "f.yaml")
    assert defaults == RunConfig.defaults()


def test_errors_name_the_override_that_brought_the_value_in() -> None:
    document = config_file.override(
        config_file.parse(FILE, "f.yaml"), ["net.a.b=3", "data={target: x.y}"], DEFAULTS
    )
    assert document.where(("net", "a", "b")) == "--set net.a.b=3"
    assert document.where(("net", "a")) == "--set net.a.b=3"
    assert document.where(("net",)) == "f.yaml:1"
    assert document.where(("data", "transforms", 1)) == "--set data={target: x.y}"
    assert document.where(("seeds",)) == "f.yaml:9"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a", ("a",)),
        ("a.0.b", ("a", 0, "b")),
        ("a.'b.c'.d", ("a", "b.c", "d")),
        ("a.00", ("a", 0)),
        ("a b.c-d", ("a b", "c-d")),
        ("", ()),
        (".", ()),
        ("a.'b", ()),
        ("''", ()),
    ],
)
def test_split(name: str, path: tuple[str | int, ...]) -> None:
    assert config_file.split(name) == path
