"""The words of the code: docstrings say what a thing is or does, and no file ends up with questions again."""

import ast

from tests import code_counts
from tests.conftest import ROOT

SOURCES = [*code_counts.sources(ROOT), *sorted((ROOT / "benchmarks").rglob("*.py"))]


def questions(source: str) -> list[str]:
    """Line and beginning of each docstring that opens with What, Who, Whether, Where, How or Which."""
    found = code_counts.docstrings(ast.parse(source))
    return [f"{line}: {text.split('.')[0][:60]}" for line, text in found if code_counts.QUESTION.match(text)]


def test_docstrings_open_with_an_imperative_or_a_noun_phrase() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        for line in questions(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_the_rule_sees_what_it_forbids() -> None:
    source = '"""Where things lie."""\nclass A:\n    """A thing.\n\n    What it is.\n    """\n'
    source += '    def f(self):\n        """Whether it is one."""\n'
    source += '    async def g(self):\n        """\n        How."""\n'
    assert [line.split(":")[0] for line in questions(source)] == ["1", "8", "10"]
    assert questions('def f():\n    """Return what, who and where."""\n') == []
    assert questions('"""Whatever it is: Howard\'s."""\n') == []
