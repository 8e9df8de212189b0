"""Any number of processes that crash, stop, lose answers and have wrong clocks finish each trial once."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from lab.hpo.storage import Database
from tests.lab.hpo.simulation import Event, Process, World

HOUR = 3600.0
EVENTS = st.sampled_from([*Event, Event.EPOCH, Event.EPOCH, Event.COMPLETED])
INDEX = st.integers(0, 2)
SKEWS = st.sampled_from([0.0, -HOUR, 2 * HOUR])


def machine(database: Database, folder: Path) -> type[RuleBasedStateMachine]:
    """A state machine over studies in this database."""

    class Machine(RuleBasedStateMachine):
        world: World

        @initialize(trials=st.sampled_from([1, 3, 8, 12]), skews=st.lists(SKEWS, min_size=3, max_size=3))
        def begin(self, trials: int, skews: list[float]) -> None:
            self.world = World.create(database, folder, trials)
            for skew in skews:
                self.world.start(skew)

        @rule(index=INDEX, events=st.lists(EVENTS, min_size=1, max_size=6))
        def work(self, index: int, events: list[Event]) -> None:
            for event in events:
                self.world.step(self.process(index), event)

        @rule(index=INDEX, event=EVENTS, at=st.integers(1, 30), proven=st.booleans(), skew=SKEWS)
        def crash(self, index: int, event: Event, at: int, proven: bool, skew: float) -> None:
            process = self.process(index)
            self.world.step(process, event, crash_at=at, proven=proven)
            if process not in self.world.processes:
                self.world.start(skew)

        @rule(index=INDEX, event=EVENTS, lost=st.tuples(st.integers(1, 2), st.integers(0, 4)))
        def lose_answers(self, index: int, event: Event, lost: tuple[int, int]) -> None:
            self.world.step(self.process(index), event, lost=lost)

        @rule(index=INDEX, other=st.integers(1, 2), event=EVENTS)
        def overtake(self, index: int, other: int, event: Event) -> None:
            process, faster = self.process(index), self.process(index + other)  # of three
            self.world.step(process, event, faster=faster)

        @rule(index=INDEX, seconds=st.sampled_from([70.0, HOUR]), events=st.lists(EVENTS, max_size=4))
        def stop(self, index: int, seconds: float, events: list[Event]) -> None:
            """Stop a process while time passes and the others work; it never knows."""
            stopped = self.process(index)
            others = [process for process in self.world.processes if process is not stopped]
            self.world.sleep(seconds)
            for process in others:
                self.beat(process)
                for event in events:
                    self.world.step(process, event)

        @rule(seconds=st.sampled_from([1.0, 15.0]))
        def wait(self, seconds: float) -> None:
            self.world.sleep(seconds)
            for process in self.world.processes:
                self.beat(process)

        @rule(index=INDEX, skew=SKEWS)
        def release(self, index: int, skew: float) -> None:
            self.world.release(self.process(index))
            self.world.start(skew)

        @rule(index=INDEX, hours=st.sampled_from([-5, 5]))
        def jump(self, index: int, hours: int) -> None:
            self.process(index).skew[0] += hours * HOUR

        @invariant()
        def holds(self) -> None:
            self.world.check()

        def process(self, index: int) -> Process:
            return self.world.processes[index % len(self.world.processes)]

        def beat(self, process: Process) -> None:
            process.queue.heartbeat([job.subject for job in process.executor.jobs])

        def teardown(self) -> None:
            if hasattr(self, "world"):
                self.world.finish()

    return Machine


@pytest.mark.parametrize(  # of 50 steps each
    "examples", [5, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]
)
def test_every_trial_ends_once_whatever_happens_to_its_processes(examples: int, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'studies.db'}")
    run_state_machine_as_test(
        machine(database, tmp_path),
        settings=settings(
            max_examples=examples, stateful_step_count=50, deadline=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    database.engine.dispose()
