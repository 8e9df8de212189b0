"""The ruler of outages: a command that crashed, and a reader that found nobody."""

import threading

from selftest.audit import Found
from selftest.bench import until
from selftest.database_outages import Reader, Unread, new_tally, take


def test_all_that_is_wrong_is_told() -> None:
    tally = new_tally()
    lost = Found(lost=["trial 3 has reported the epochs [1]"])
    take(tally, "PostgreSQL", ["boom"], [], lost)
    take(tally, "SQLite", [], ["locked"], Found())
    made = tally.verdict()
    assert made.broken == [
        "PostgreSQL: a command crashed: boom",
        "PostgreSQL: lost: trial 3 has reported the epochs [1]",
        "SQLite: the reader failed: locked",
    ]
    figures = made.figures
    assert (figures["crashes"], figures["lost"], figures["reads that failed"]) == (1, 1, 1)


def test_a_reader_counts_what_it_reads_and_tells_what_it_does_not() -> None:
    away = threading.Event()

    def read() -> None:
        if away.is_set():
            raise Unread("nobody there")

    with Reader("the page", read) as reader:
        assert reader.once_more(30.0) == []
        away.set()
        assert until(lambda: bool(reader.errors), 30.0)
        assert reader.once_more(0.3) == ["the page: nothing is read after the outage"]
        away.clear()
        assert reader.once_more(30.0) == []
    assert reader.reads >= 2 and set(reader.errors) == {"the page: nobody there"}
