"""The state of the objects of a run beside the parts that a checkpoint has always had.

Whatever an object of the user's keeps in its attributes and buffers is restored, as far as it is plain data.
What isn't is named in the checkpoint, and at the resume.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lab.config import ConfigError, Problem
from lab.console.formatting import format_list
from lab.events import Callback, EpochEnd, Note
from lab.state.attributes import Held, has_own_state
from lab.state.plain_values import Plain

ADVICE = "give it state_dict and load_state_dict, of tensors, numbers and strings"


def kind_of(part: object) -> str:
    """The name of the object's class; not of its module, which is `__main__` where a script defines it."""
    function = getattr(part, "func", part)
    return str(getattr(function, "__qualname__", type(part).__qualname__))


class Component:
    """An object of a run, and what it holds.

    Args:
        called: the object that it is named after.

    Attributes:
        advice: lets it resume exactly.
        has_own: whether there is a state for certain.
    """

    advice = f"; {ADVICE}"

    def __init__(self, what: str, called: object, held: Held) -> None:
        self.kind = kind_of(called)
        self.title = f"{what} {self.kind}"  # such as `criterion Noise`
        self._held = held

    @property
    def has_own(self) -> bool:
        return False

    def streams(self) -> list[str]:
        """Its random streams."""
        return self._held.streams()

    def state(self, within: bool) -> tuple[Mapping[str, Plain], list[str]]:
        """Return what a checkpoint keeps, and what it can't keep.

        Args:
            within: whether an epoch's training is under way.
        """
        return self._held.state(), self._held.unkept

    def load(self, state: Mapping[str, Plain], device: torch.device) -> list[str]:
        """Restore what a checkpoint kept; returns what of it isn't part of the object any more.

        Raises:
            ValueError: it doesn't fit.
        """
        return self._held.load(state, device)


class Attributes(Component):
    """The attributes of an object.

    Args:
        tensors: whether the parameters and persistent buffers of a module are among them.
        reset: to be called before they are looked at, for a metric to forget the set's batches.
        between: whether they are kept between epochs alone.
        kind: the object to call it by; by default it itself.
    """

    def __init__(
        self,
        what: str,
        part: object,
        *,
        tensors: bool = True,
        reset: Callable[[], None] = lambda: None,
        between: bool = False,
        kind: object = None,
    ) -> None:
        self._reset, self._between = reset, between
        reset()
        super().__init__(what, part if kind is None else kind, Held(part, tensors=tensors))

    @property
    def has_own(self) -> bool:
        """True where its class has a `state_dict`, and is the user's."""
        ours = type(self._held.root).__module__.startswith("lab.train.callbacks")
        return has_own_state(self._held.root) and not ours

    def state(self, within: bool) -> tuple[Mapping[str, Plain], list[str]]:
        """The attributes that have changed."""
        if within and self._between:
            return {}, []
        self._reset()
        return super().state(within)


class Named(Component):
    """A user's callback without its own state: changes in it are reported, and left alone."""

    def __init__(self, what: str, part: object) -> None:
        super().__init__(what, part, Held(part, closely=False))

    def state(self, within: bool) -> tuple[Mapping[str, Plain], list[str]]:
        """The names of the attributes that have changed."""
        names = dict.fromkeys(path.partition(".")[0].partition("[")[0] for path in self._held.changed())
        return {}, [f"{name} changes" for name in names if name]

    def streams(self) -> list[str]:
        """None: those of a callback are not restored."""
        return []


class ComponentStates:
    """The objects of a run by name.

    Attributes:
        notes: on what was restored, and what wasn't.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.notes: list[Note] = []
        self._device = torch.device(device)
        self._parts: dict[str, Component] = {}
        self._left_out: dict[str, str] = {}
        self._named: set[str] = set()

    def add(self, name: str, part: Component) -> None:
        """Include an object; of several with one name each gets a number."""
        # The first free name: a second callback of one class is called `callbacks.X.2`.
        numbers = (name, *(f"{name}.{number}" for number in range(2, len(self._parts) + 3)))
        self._parts[next(each for each in numbers if each not in self._parts)] = part

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Don't restore these, by the beginning of their names, for they belong to another setting."""
        self._left_out = dict(reasons)

    def state_dict(self, within: bool = False) -> dict[str, object]:
        """Return what there is, by name, and what can't be kept.

        Args:
            within: whether an epoch's training is under way.
        """
        states: dict[str, Any] = {}
        unkept: dict[str, list[str]] = {}
        for name, part in self._parts.items():
            values, wrong = part.state(within)
            if values:
                states[name] = {"kind": part.kind, "values": dict(values)}
            if wrong:
                unkept[name] = wrong
        return {"states": states, "unkept": unkept}

    def load_state_dict(self, state: Mapping[str, Plain]) -> None:
        """Restore all that can be, and note what can't.

        Raises:
            ConfigError: a state doesn't fit.
        """
        states, unkept = state.get("states", {}), state.get("unkept", {})
        problems = []
        # Names of the checkpoint and of the run: what only one of them has is reported, too.
        for name in {**states, **unkept, **self._parts}:
            part = self._parts.get(name)
            try:
                self._restore(name, part, states.get(name), unkept.get(name, []))
            except ValueError as error:
                title = part.title if part else name
                text = f"the state of the {title} in the checkpoint doesn't fit: {error}"
                problems.append(Problem((name,), f"{text}; start a new run, or restore its code"))
        if problems:
            raise ConfigError(problems)

    def unkeepable(self) -> list[Note]:
        """Warnings of states that no checkpoint can hold, due before the first epoch."""
        return [
            Note(f"the {part.title} won't resume exactly: {format_list(wrong, '; ')}{part.advice}", "warning")
            for part in self._parts.values()
            if part.has_own and (wrong := part.state(False)[1])
        ]

    def unkept_notes(self) -> list[Note]:
        """Warnings of callbacks that have changed since the resume and keep nothing, unless named before."""
        return [
            self._reset_note(part, wrong)
            for name, part in self._parts.items()
            if isinstance(part, Named) and name not in self._named and (wrong := part.state(False)[1])
        ]

    def new(self) -> list[Note]:
        """Warnings of what has a state for certain, where a checkpoint is older than all of these."""
        return [
            Note(f"the checkpoint has no state of the {part.title}: it is reset{_listed(streams)}", "warning")
            for part in self._parts.values()
            if (streams := part.streams()) or part.has_own
        ]

    @staticmethod
    def _reset_note(part: Component, reasons: list[str]) -> Note:
        text = f"the {part.title} has no state that a checkpoint can hold: it is reset"
        return Note(f"{text} ({format_list(reasons, '; ')}){part.advice}", "warning")

    def _restore(self, name: str, part: Component | None, state: Plain, unkept: list[str]) -> None:
        why = next((why for start, why in self._left_out.items() if f"{name}.".startswith(f"{start}.")), "")
        if part is None:
            text = f"the run no longer has {name}: its state in the checkpoint is ignored"
        elif why and (state or unkept):
            text = f"the {part.title} is reset: {why}"
        elif state is not None and state["kind"] != part.kind:
            text = f"the {part.title} is reset: the checkpoint has the state of {state['kind']}"
        elif unkept:
            lost = [] if state is None else part.load(state["values"], self._device)
            self._named.add(name)
            self.notes.append(self._reset_note(part, [*unkept, *lost]))
            return
        elif state is not None:
            if not (lost := part.load(state["values"], self._device)):
                return
            text = f"the {part.title} has changed since the checkpoint: {format_list(lost)} no longer exists"
        elif part.has_own and not why:
            text = f"the checkpoint has no state of the {part.title}: it is reset"
        else:
            return
        self.notes.append(Note(text, "warning"))


def _listed(names: list[str]) -> str:
    return f" ({format_list(names)})" if names else ""


class Unkept(Callback):
    """Reports callbacks that change and keep nothing; the last of all callbacks of a resumed run.

    A checkpoint is written before they receive its epoch, so that the first one knows of no change.

    Args:
        notify: takes the warnings.
    """

    def __init__(self, components: ComponentStates, notify: Callable[[Note], None]) -> None:
        self._components, self._notify, self._done = components, notify, False

    def on_epoch_end(self, event: EpochEnd) -> None:
        """Report after the first epoch."""
        if not self._done:
            self._done = True
            for note in self._components.unkept_notes():
                self._notify(note)
