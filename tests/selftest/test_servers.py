"""That the judges of servers see what is wrong."""

import os
import socket
from pathlib import Path

import pytest

from selftest import servers
from selftest.servers import Asked, judge_answer, judge_sockets
from selftest.sockets import Listening, family, listening, status

ASKED = Asked("a stranger", b"", (401,))


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", ""),
        (b"HTTP/1.0 200 OK\r\n\r\n", "a stranger: 401 expected, found 200"),
        (b"", "a stranger: 401 expected, found 0"),
        (b"HTTP/1.0 401 No\r\n\r\n" + servers.MARK, "a stranger: showed what nobody may see"),
        (b"HTTP/1.0 401 No\r\n\r\n" + servers.TOKEN.encode(), "a stranger: showed the token"),
    ],
)
def test_answers_are_judged(heard: bytes, wrong: str) -> None:
    assert list(judge_answer(ASKED, heard)) == ([wrong] if wrong else [])


def test_a_door_that_shuts_friends_out_is_seen() -> None:
    friend = Asked("a friend", b"", (200,), b"welcome")
    assert list(judge_answer(friend, b"HTTP/1.0 200 OK\r\n\r\n")) == [
        "a friend: 'welcome' expected in the answer"
    ]


def test_sockets_of_other_addresses_are_named() -> None:
    found = {Listening("127.0.0.1", 1), Listening("::1", 2), Listening("0.0.0.0", 3), Listening("::", 4)}
    assert judge_sockets("it", found) == [
        "it: loopback expected, found 0.0.0.0:3",
        "it: loopback expected, found :::4",
    ]


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel's tables are Linux's")
@pytest.mark.parametrize(("kind", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_listening_sockets_are_found(kind: socket.AddressFamily, address: str) -> None:
    with socket.socket(kind) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip(f"there is no {address} here")
        here = Listening(address, server.getsockname()[1])
        assert here not in listening([os.getpid()])
        server.listen()
        assert here in listening(family(os.getppid()))
        assert here.on_loopback


def test_the_status_of_an_answer() -> None:
    assert status(b"HTTP/1.1 303 See Other\r\n") == 303
    assert status(b"") == status(b"<html>") == status(b"a b c") == 0
