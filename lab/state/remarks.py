"""Remarks to the user from any part of a training, each made once."""

from lab.state.attributes import Unwatched


class Remarks(Unwatched):
    """Messages, each kept once until it is taken."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._waiting: list[str] = []

    def add(self, message: str) -> None:
        """Keep a message, unless it was there before."""
        if message not in self._known:
            self._known.add(message)
            self._waiting.append(message)

    def take(self) -> list[str]:
        """The messages since the last call."""
        taken, self._waiting = self._waiting, []
        return taken
