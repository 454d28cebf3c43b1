"""Large results, which come in chunks as fast as they are taken."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from played import CHUNK, Asked, Played
from proximity import Agent, AsyncProxy, OutcomeUnknown, Proxy, RemoteError

SIZES = [0, 1, 990, 997, 998, 1_000, 15_995, 16_000, 24_000, 100_000, 1_000_000]


def data(size: int) -> bytes:
    return bytes(n * n % 251 for n in range(size))


class Bulk:
    """`read(n)` returns n bytes, in chunks of which never more are sent than may be."""

    def __init__(self) -> None:
        self.credit = self.most = self.count = self.size = self.chunked = 0
        self.chunks: deque[bytes] = deque()

    def __call__(self, asked: Asked) -> None:
        if asked.op == "credit":
            self.credit += asked.request["args"][0]
        else:
            value = data(asked.request["args"][0])
            packed: Any = msgpack.packb(value)
            credit = asked.request.get("credit")
            if credit is None or len(packed) <= CHUNK:
                asked.send(ok=value)
                return
            self.chunked += 1
            self.chunks = deque(packed[at : at + CHUNK] for at in range(0, len(packed), CHUNK))
            self.count, self.size, self.credit = len(self.chunks), len(packed), credit
        self.most = max(self.most, self.credit)
        while self.credit and self.chunks:
            index = self.count - len(self.chunks)
            asked.send(chunk=[index, self.count], data=self.chunks.popleft())
            self.credit -= 1
            if not self.chunks:
                asked.send(ok=None, chunks=[self.count, self.size])


@pytest.fixture
def bulk() -> Bulk:
    return Bulk()


@pytest.fixture
def agent(bulk: Bulk) -> Iterator[Played]:
    with Played(bulk, ("chunks",)) as agent:
        yield agent


def test_a_large_result_comes_whole_and_never_faster_than_it_is_taken(
    agent: Played, bulk: Bulk
) -> None:
    for size in SIZES:
        with Proxy(agent.url, "foo") as foo:
            assert foo.read(size) == data(size), size
            with foo.batch() as batch:
                future = batch.read(size)
            assert future.result() == data(size), size
    assert 1 <= bulk.most <= 16


def test_the_same_for_asyncio(agent: Played, bulk: Bulk) -> None:
    async def read() -> None:
        async with AsyncProxy(agent.url, "foo") as foo:
            for size in SIZES:
                assert await foo.read(size) == data(size), size

    asyncio.run(read())
    assert 1 <= bulk.most <= 16


def test_what_is_not_very_large_is_asked_for_in_one_message_then(agent: Played, bulk: Bulk) -> None:
    with Proxy(agent.url, "foo") as foo:
        for _ in range(5):
            assert foo.read(20_000) == data(20_000)
        assert bulk.chunked == 1
        told: list[Any] = []
        foo.read(20_000, progress=lambda *progress: told.append(progress))
        assert bulk.chunked == 2, "but who wants to be told of progress gets chunks"
        assert len(told) == 21


def test_how_much_has_come_is_told(agent: Played) -> None:
    told: list[tuple[int, int, str]] = []
    with Proxy(agent.url, "foo") as foo:
        foo.read(2_500, progress=lambda *progress: told.append(progress))
    text = "bytes of the result"
    assert told == [(1_000, 3_000, text), (2_000, 3_000, text), (2_503, 2_503, text)]


def test_an_agent_that_never_stops_telling_is_not_waited_for_any_longer() -> None:
    done = threading.Event()

    def answer(asked: Asked) -> None:
        while not done.is_set():
            asked.send(progress=[1, 2, "of many"])

    with Played(answer) as agent, Proxy(agent.url, "foo") as foo:
        at_last = threading.Timer(5, done.set)
        at_last.start()
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            foo.push(timeout=0.3)
        assert time.monotonic() - began < 2
        at_last.cancel()
        done.set()


def test_an_error_of_the_callers_own_ends_the_wait(agent: Played) -> None:
    def fail(*_: object) -> None:
        raise LookupError("the caller's own")

    async def read() -> None:
        async with AsyncProxy(agent.url, "foo") as foo:
            with pytest.raises(LookupError):
                await foo.read(2_500, progress=fail)

    with Proxy(agent.url, "foo") as foo:
        with pytest.raises(LookupError):
            foo.read(2_500, progress=fail)
        assert foo.read(2_500) == data(2_500)
    asyncio.run(read())


def test_a_result_larger_than_is_taken_is_an_error(agent: Played) -> None:
    with Agent(agent.url, max_reply=50_000) as client:
        with pytest.raises(MemoryError) as caught:
            client["foo"].read(1_000_000)
        error = caught.value
        assert isinstance(error, RemoteError)
        assert error.executed == "yes"
        assert "more than the 50000 bytes" in str(error)
        assert client["foo"].read(49_000) == data(49_000)
