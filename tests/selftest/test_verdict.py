"""A tally counts what rounds come to, and holds every line that is broken."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from selftest.audit import Found
from selftest.bench import Done
from selftest.verdict import Tally, judge_command


def test_figures_stay_in_order_and_are_added_to() -> None:
    tally = Tally({"kills": 0, **Found().counted(), "s at most": 0.0})
    tally.add("kills", 3)
    tally.add("kills")
    tally.most("s at most", 2.5)
    tally.most("s at most", 1.5)
    verdict = tally.verdict()
    assert (
        verdict.held and verdict.as_text() == "4 kills, 0 lost, 0 twice, 0 running, 0 changed, 2.5 s at most"
    )


def test_whatever_is_wrong_breaks_the_promise() -> None:
    tally = Tally(Found().counted())
    assert tally.take("here", []) and tally.take("here", Found()) and tally.expect(True, "no")
    tally.at_least(3, 3, "kills")
    assert tally.verdict().held
    assert not tally.take("here", iter(["one", "two"])) and not tally.expect(False, "three")
    assert not tally.take("there", Found(lost=["trial 1"], changed=["trial 2"]))
    tally.at_least(3, 2, "kills")
    tally.untried.append("PostgreSQL")
    verdict = tally.verdict()
    assert verdict.broken == [
        "here: one", "here: two", "three", "there: lost: trial 1", "there: changed: trial 2",
        "expected 3 kills, 2 came about",
    ]  # fmt: skip
    assert verdict.figures == {"lost": 1, "twice": 0, "running": 0, "changed": 1}
    assert list(verdict.untried) == ["PostgreSQL"] and not verdict.held


def test_threads_add_to_one_tally() -> None:
    tally = Tally({"stops": 0})
    with ThreadPoolExecutor(8) as pool:
        for _ in range(8):
            pool.submit(lambda: [tally.add("stops") for _ in range(2000)])
    assert tally.figures == {"stops": 16000}


@pytest.mark.parametrize(
    ("done", "said"),
    [
        (Done(0, "it is well", ""), []),
        (Done(3, "", "[W] all is well"), []),
        (Done(1, "", "no\nwell"), ["exit code 0 or 3 expected, found 1: well"]),
        (Done(0, "bad", ""), ["'well' expected, found bad"]),
        (Done(0, "well", "Traceback\nboom"), ["no traceback expected, found boom"]),
    ],
)
def test_the_end_of_a_command_is_judged(done: Done, said: list[str]) -> None:
    assert list(judge_command(done, (0, 3), "well")) == said
