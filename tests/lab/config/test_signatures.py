"""The keys of an unpacked TypedDict are arguments like any other."""

import inspect
from typing import Any, NotRequired, Required, TypedDict, Unpack

import pytest
import typing_extensions

from lab.config.argument_types import annotations
from lab.config.component_spec import Spec
from lab.config.signatures import hints_of, signature_of


class Base(TypedDict, total=False):
    share: float
    root: Required[str]


class Options(Base):
    classes: list[str] | None
    seed: NotRequired[int]


def source(path: str, **options: Unpack[Options]) -> None: ...
def quoted(path: str, **options: "Unpack[Options]") -> None: ...
def extended(path: str, **options: typing_extensions.Unpack[Options]) -> None: ...  # type: ignore[valid-type]


class Source:
    def __init__(self, path: str, **options: Unpack[Options]) -> None: ...


@pytest.mark.parametrize("target", [source, quoted, extended, Source])
def test_keys_are_keyword_only_parameters(target: Any) -> None:
    parameters = signature_of(target).parameters
    assert list(parameters) == ["path", "share", "root", "classes", "seed"]
    assert {each.kind for name, each in parameters.items() if name != "path"} == {
        inspect.Parameter.KEYWORD_ONLY
    }
    needed = [name for name, each in parameters.items() if each.default is each.empty]
    assert needed == ["path", "root", "classes"]
    assert hints_of(target)["seed"] is int and hints_of(target)["classes"] == list[str] | None


def anything(path: str, **options: Any) -> None: ...


@pytest.mark.parametrize("target", [anything, len, dict.get, print])
def test_other_signatures_stay_as_they_are(target: Any) -> None:
    assert signature_of(target) == inspect.signature(target)


def test_keys_are_checked_as_arguments() -> None:
    checkers = annotations(source)
    assert not list(checkers["seed"].check("seed", 3))
    assert list(checkers["seed"].check("seed", "3")) and "options" not in checkers
    spec = Spec.model_validate({"target": f"{__name__}.source", "path": "p", "root": "r", "sed": 1})
    assert [problem.text for problem in spec.check(look=lambda _: source)] == [
        "source takes no 'sed'; did you mean 'seed'?",
        "source needs 'classes', which is not given",
    ]
