"""A bench for the tests of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import util
from selftest.bench import Bench

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Real processes in a folder of the tests; the machine may be busy, so no time counts as broken."""
    place = tmp_path_factory.mktemp("faults") / "bench"
    with Bench(place, ROOT / "main.py", util.run, report=lambda text: None, judge_times=False) as made:
        yield made
        made.end_processes()
