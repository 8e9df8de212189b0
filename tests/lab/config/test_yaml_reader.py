"""YAML as a person means it, and a clear word on everything else."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.config import ConfigError
from lab.config.yaml_reader import MAX_DEPTH, Reader


def read(text: str) -> Any:
    """The value of a text that has no problems."""
    reader = Reader("f.yaml")
    value = reader.read(text)
    assert reader.problems == []
    return value


def refused(text: str) -> str:
    """What is said of a text that can't be read."""
    with pytest.raises(ConfigError) as caught:
        Reader("f.yaml").read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-3", 0.001),
        ("1.0e+3", 1000.0),
        ("1E5", 100_000.0),
        ("-.5", -0.5),
        ("3.", 3.0),
        ("10", 10),
        ("+7", 7),
        ("010", 10),  # octal to YAML 1.1
        ("0x1f", 31),
        ("0o17", 15),
        ("-3", -3),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),  # 90 to YAML 1.1
        ("0b1", "0b1"),
        ("2026-01-31", "2026-01-31"),
        ("inf", "inf"),
        ("nan", "nan"),
        (".iNf", ".iNf"),
        ("1e", "1e"),
        (".", "."),
        ("=", "="),
        ("'1e-3'", "1e-3"),
        ('"true"', "true"),
        ("''", ""),
        ("|-\n  12", "12"),
        ("[1, 2.5, a]", [1, 2.5, "a"]),
    ],
)
def test_scalars_follow_the_core_schema(text: str, expected: Any) -> None:
    value = read(f"key: {text}")["key"]
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(read("key: .nan")["key"])


def test_keys_are_scalars_too() -> None:
    assert read("{1: a, '1': b, yes: c, null: d}") == {1: "a", "1": "b", "yes": "c", None: "d"}


def test_every_value_knows_its_line() -> None:
    reader = Reader("f.yaml")
    reader.read("a: 1\n\nb:\n  c:\n  - x\n  - {d: 2,\n     e: 3}\n")
    lines = {path: int(place.removeprefix("f.yaml:")) for path, place in reader.origins.items()}
    assert lines == {
        (): 1,
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("b", "c", 0): 5,
        ("b", "c", 1): 6,
        ("b", "c", 1, "d"): 6,
        ("b", "c", 1, "e"): 7,
    }


def test_duplicate_keys_are_all_told_with_both_lines() -> None:
    reader = Reader("f.yaml")
    value = reader.read("a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\n")
    assert value == {"a": 1, "b": {"c": 1, "d": 2}}, "the first stays"
    assert [str(problem) for problem in reader.problems] == [
        "f.yaml:3: the key 'a' is given twice, first in line 1; keep one",
        "f.yaml:2: b: the key 'c' is given twice, first in line 2; keep one",
    ]


def test_merge_keys() -> None:
    text = """\
base: &base {lr: 1, decay: 2}
other: &other {lr: 3, eps: 4}
one: {<<: *base, lr: 5}
late: {lr: 5, <<: *base}
two: {<<: [*base, *other]}
text: {'<<': 6}
"""
    reader = Reader("f.yaml")
    value = reader.read(text)
    assert value["one"] == {"lr": 5, "decay": 2}
    assert value["late"] == {"lr": 5, "decay": 2}
    assert value["two"] == {"lr": 1, "decay": 2, "eps": 4}, "the first of several has the last word"
    assert value["text"] == {"<<": 6}
    places = reader.origins
    assert places[("one", "lr")] == "f.yaml:3"
    assert places[("late", "lr")] == "f.yaml:4"
    assert places[("one", "decay")] == "f.yaml:1"
    assert places[("two", "lr")] == "f.yaml:1"
    assert places[("two", "eps")] == "f.yaml:2"
    assert "f.yaml:1: a: '<<' merges mappings" in refused("a: {<<: 3}")
    assert "'<<' is given twice" in str(_problems("a: {<<: {b: 1}, <<: {c: 1}}")[0])


def _problems(text: str) -> list[Any]:
    reader = Reader("f.yaml")
    reader.read(text)
    return reader.problems


def test_aliases_are_copies() -> None:
    value = read("a: &x [1]\nb: *x\n")
    assert value["a"] == value["b"] == [1]
    assert value["a"] is not value["b"]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: [1, 2\nb: 3", 2, "is not valid YAML: while parsing a flow sequence that begins in line 1"),
        ("a: 1\n b: 2\n", 2, "is not valid YAML"),
        ("a: 1\nb:\n\tc: 2\n", 3, "is not valid YAML"),
        ("a: 'b\n", 2, "is not valid YAML"),
        ("a: *nothing\n", 1, "found undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, "another document"),
        ("a: 1\nb: !x 3\n", 2, "b: has the tag '!x'"),
        ("a: !!str 3\n", 1, "a: has the tag 'tag:yaml.org,2002:str'; a config has no tags"),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "a config has no tags"),
        ("!!map {a: 1}\n", 1, "a config has no tags"),
        ("a: {!x b: 1}\n", 1, "a: has the tag '!x'"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "a key must be a single word or number"),
        ("a: 1\nb: &a [*a]\n", 2, "b.0: contains itself"),
        ("a: &a {b: *a}\n", 1, "a.b: contains itself"),
        ("a: 1\nb: \x07\n", 2, r"has the character '\x07'"),
        ("a: \ud800\n", 1, r"has the character '\ud800'"),
        ("a: " + "[" * 200_000, 1, f"is nested more than {MAX_DEPTH} deep"),
        ("- " * 200_000, 1, f"is nested more than {MAX_DEPTH} deep"),
        ("a: 1\nb:\n  - " + "[" * 5_000 + "]" * 5_000, 3, f"is nested more than {MAX_DEPTH} deep"),
        ("a: 1\nb:\n  - [\n" + "{a: " * 20_000, 4, f"is nested more than {MAX_DEPTH} deep"),
        ("a: 1\nb: " + "{a: " * 60 + "}" * 60, 2, f"is nested more than {MAX_DEPTH} deep"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    said = refused(text)
    assert said.startswith(f"f.yaml:{line}: ")
    assert message in said
    assert len(said) < 300


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "unfolds to more than 100,000 values" in refused("\n".join(lines))


def test_aliases_may_not_nest_too_deeply_either() -> None:
    inner = "[" * 30 + "1" + "]" * 30
    assert f"is nested more than {MAX_DEPTH} deep" in refused(f"a: &a {inner}\nb: {'[' * 30}*a{']' * 30}")


def test_an_empty_text_is_nothing() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{},&*!|>'\"#?%@ \n\t<0.e", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        Reader("f.yaml").read(text)
    except ConfigError as error:
        assert all(problem.where.startswith("f.yaml:") for problem in error.problems)


@settings(max_examples=200, deadline=None)
@given(st.recursive(
    st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.sampled_from(["a", "b c"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_agrees_with_a_reader_of_yaml_1_1_where_both_mean_the_same(data: Any) -> None:
    assert read(yaml.safe_dump({"key": data})) == {"key": data}
