"""A W&B server of 127.0.0.1 that answers what a run asks, or fails in one of the ways of servers."""

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

# mute: accepts, never answers; half: answers GET only; falls silent: well until a run has begun, then half
Mood = Literal["well", "mute", "half", "falls silent"]


class WandbServer(ThreadingHTTPServer):
    """Keeps what it is sent: GraphQL variables by operation, the lines of streamed files, uploaded files."""

    daemon_threads = True

    def __init__(self, mood: Mood) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mood = mood
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.streamed: dict[str, list[dict[str, Any]]] = {}
        self.uploaded: dict[str, bytes] = {}
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no error of ours."""

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def wandb_server(mood: Mood = "well") -> Iterator[WandbServer]:
    """A server in a thread, until the end of the context."""
    server = WandbServer(mood)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.server.mood == "mute":
            self.server.closing.wait(60)
        self._answer({})

    def do_PUT(self) -> None:
        self.server.uploaded[self.path.removeprefix("/upload/")] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        if self.server.mood in ("mute", "half"):
            self.server.closing.wait(60)
            return
        data = json.loads(self._body())
        if self.path == "/graphql":
            name, variables = data.get("operationName", ""), data.get("variables", {})
            self.server.asked.append((name, variables))
            self._answer({"data": self._data(name, variables)})
            if name == "UpsertBucket" and self.server.mood == "falls silent":
                self.server.mood = "half"
            return
        for file, chunk in data.get("files", {}).items():
            self.server.streamed.setdefault(file, []).extend(json.loads(line) for line in chunk["content"])
        self._answer({})

    def _data(self, name: str, variables: Mapping[str, Any]) -> dict[str, object]:
        entity = {"id": "e", "name": "lab"}
        match name:
            case "RunResumeStatus":
                return {"model": {"id": "m", "name": "spheroids", "entity": entity, "bucket": None}}
            case "UpsertBucket":
                project = {"id": "p", "name": "spheroids", "entity": entity}
                bucket = {"id": "r", "name": variables["name"], "displayName": "unet", "config": "{}"}
                return {"upsertBucket": {"bucket": {**bucket, "project": project}, "inserted": True}}
            case "Viewer":
                return {"viewer": {"id": "v", "entity": "lab", "username": "lab", "flags": "{}"}}
            case "":  # of what type an artifact of this name is
                return {"project": {"artifact": None}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "CreateArtifact":
                sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
                artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
                return {"createArtifact": {"artifact": artifact}}
            case "CreateRunFiles":
                files = [
                    {"name": file, "uploadUrl": f"{self.server.url}/upload/{file}"}
                    for file in variables["files"]
                ]
                return {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}
        return {}

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, data: dict[str, object]) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
