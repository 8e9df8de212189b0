"""A W&B server of 127.0.0.1 that answers what a run asks."""

import gzip
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """Keeps the lines of the files that are streamed to it, by file."""

    daemon_threads = True

    def __init__(self, handler: "type[Handler]") -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.streamed: dict[str, list[dict[str, Any]]] = {}

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no error of ours."""

    @property
    def url(self) -> str:
        """For WANDB_BASE_URL."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def serving(server: WandbServer) -> Iterator[None]:
    """Serve in a thread until the end of the context."""
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer nothing of interest."""
        self._answer({})

    def do_PUT(self) -> None:
        """Take a file that is uploaded."""
        self.body()
        self._answer({})

    def do_POST(self) -> None:
        """Answer a GraphQL query, or take lines of files."""
        data = json.loads(self.body())
        if self.path == "/graphql":
            self._answer({"data": self.data(data.get("operationName", ""), data.get("variables", {}))})
            return
        for file, chunk in data.get("files", {}).items():
            self.server.streamed.setdefault(file, []).extend(json.loads(line) for line in chunk["content"])
        self._answer({})

    def data(self, name: str, variables: Mapping[str, Any]) -> dict[str, object]:
        """Answer a GraphQL operation."""
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

    def body(self) -> bytes:
        """Read what the client sends."""
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
