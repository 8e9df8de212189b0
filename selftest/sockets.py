"""Processes and listening sockets, by the kernel's own tables; and bytes that no browser would send."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True, order=True)
class Listening:
    """A TCP socket that waits for visitors."""

    address: str
    port: int

    @property
    def on_loopback(self) -> bool:
        """True where no other machine can reach it."""
        return ipaddress.ip_address(self.address).is_loopback


def listening(pids: Iterable[int]) -> set[Listening]:
    """The addresses at which these processes listen."""
    sockets = {link for pid in pids for link in _open_files(pid) if link.startswith("socket:[")}
    found = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path("/proc/net", table).read_text(encoding="utf-8").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in sockets:
                    found.add(_parsed(fields[1]))
    return found


def processes() -> Iterator[tuple[int, str, int, int]]:
    """Number, state, parent and group of each process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):  # it has ended
            state, parent, group, *_ = stat.read_text().rpartition(")")[2].split()
            yield int(stat.parent.name), state, int(parent), int(group)


def family(pid: int) -> set[int]:
    """A process and all below it."""
    parents = {child: parent for child, _, parent, _ in processes()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes, with the port's number for the word PORT, and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
        connection.sendall(data.replace(b"PORT", b"%d" % port))
        response = b""
        with suppress(ConnectionResetError):
            while block := connection.recv(65536):
                response += block
        return response


def request(
    path: str, *headers: str, method: str = "GET", host: str = "127.0.0.1:PORT", body: str = ""
) -> bytes:
    """A request as a browser sends it; the word PORT stands for the server's."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"] if body else []
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1")


def status(response: bytes) -> int:
    """The status of an HTTP answer; 0 where it is none."""
    words = response.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def _open_files(pid: int) -> list[str]:
    found = []
    with suppress(OSError):  # it has ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(link.readlink()))
    return found


def _parsed(text: str) -> Listening:
    """`0100007F:1F90` is 127.0.0.1:8080: words of four bytes, each in the machine's order."""
    address, _, port = text.partition(":")
    words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
    parsed = ipaddress.ip_address(b"".join(words))
    mapped = getattr(parsed, "ipv4_mapped", None)
    return Listening(str(mapped or parsed), int(port, 16))
