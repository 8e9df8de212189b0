"""W&B's server as tests need it: it keeps all that it is sent, and fails in one of the ways of servers."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from selftest.wandb_server import Handler, WandbServer, serving

# mute: accepts, never answers; half: answers GET only; falls silent: well until a run has begun, then half
Mood = Literal["well", "mute", "half", "falls silent"]


class Server(WandbServer):
    """Keeps GraphQL variables by operation and uploaded files, too."""

    def __init__(self, mood: Mood) -> None:
        super().__init__(_Handler)
        self.mood = mood
        self.asked: list[tuple[str, Mapping[str, Any]]] = []
        self.uploaded: dict[str, bytes] = {}
        self.closing = threading.Event()


@contextmanager
def wandb_server(mood: Mood = "well") -> Iterator[Server]:
    """A server in a thread, until the end of the context."""
    server = Server(mood)
    with serving(server):
        try:
            yield server
        finally:
            server.closing.set()


class _Handler(Handler):
    server: Server
    asked = ""  # the last operation

    def do_GET(self) -> None:
        if self.server.mood == "mute":
            self.server.closing.wait(60)
        super().do_GET()

    def do_POST(self) -> None:
        if self.server.mood in ("mute", "half"):
            self.server.closing.wait(60)
            return
        super().do_POST()
        if self.asked == "UpsertBucket" and self.server.mood == "falls silent":
            self.server.mood = "half"

    def data(self, name: str, variables: Mapping[str, Any]) -> dict[str, object]:
        self.asked = name
        self.server.asked.append((name, variables))
        return super().data(name, variables)

    def body(self) -> bytes:
        content = super().body()
        if self.command == "PUT":
            self.server.uploaded[self.path.removeprefix("/upload/")] = content
        return content
