"""The asyncio client where the other side, the network or its program do as they should not."""

from __future__ import annotations

import asyncio
import contextlib
import socket as net
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest

from played import Asked, Played
from proximity import AsyncProxy, CallError, NotSent, OutcomeUnknown, _codec, aio
from test_reconnect import stranger

# What comes over the wire.


def answering(raw: bytes) -> Any:
    def answer(asked: Asked) -> None:
        if asked.proc == "push":
            asked.agent.socket.send_multipart([*asked.envelope, raw])
        else:
            asked.send(ok="seen")

    return answer


UNREADABLE = {
    "a list as a key": b"\x81\x91\x01\x01",
    "a number": b"\x05",
    "an id that is a number": msgpack.packb({"v": 2, "id": 5, "ok": 1}),
    "an id without a number": msgpack.packb({"v": 2, "id": [b"x", [1]], "ok": 1}),
    "no MessagePack": b"\xc1",
    "too deep": b"\x91" * 2000 + b"\x01",
}


@pytest.mark.parametrize("raw", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_message_that_cannot_be_read_ends_one_call_only(raw: bytes) -> None:
    async def main(url: str) -> None:
        async with AsyncProxy(url, "foo", timeout=20) as foo:
            with pytest.raises(OutcomeUnknown, match=r"^foo\.push: the reply of .* cannot be read"):
                await foo.push()
            for _ in range(2):
                assert await foo.look() == "seen"

    with Played(answering(raw)) as agent:
        asyncio.run(main(agent.url))


def test_an_error_of_the_users_decoder_is_that_calls_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder(handled: list[Any]) -> list[Any]:
        if "boom" in handled[1]:
            raise LookupError("the decoder's own")
        return handled

    def answer(asked: Asked) -> None:
        waiting.append(asked)
        if len(waiting) == 2:  # the one that came last is answered, and cannot be decoded
            waiting[1].send(ok={"boom": 1})
            waiting[0].send(ok="seen")

    async def main(url: str) -> None:
        async with AsyncProxy(url, "foo", timeout=20) as foo:
            first = asyncio.ensure_future(foo.look())
            while not waiting:
                await asyncio.sleep(0.001)
            with pytest.raises(LookupError, match="the decoder's own"):
                await foo.push()
            assert await first == "seen"

    monkeypatch.setattr(_codec, "_decoders", [decoder])
    waiting: list[Asked] = []
    with Played(answer) as agent:
        asyncio.run(main(agent.url))


def talk(taken: net.socket) -> None:
    """As a peer of ZMTP 1.0: an empty identity, and a message that is no value."""
    taken.sendall(b"\x01\x00" + b"\x04\x00\x91\x91\xc1" + b"\x05\x00\x81\x91\x01\x01" * 100)
    taken.recv(1)


def test_a_stranger_that_talks_is_told_and_got_over() -> None:
    async def main(url: str) -> None:
        foo = AsyncProxy(url, "foo", timeout=20)
        while True:
            try:
                assert await foo.look() == "seen"
                break
            except NotSent as error:
                told.append(str(error))
        foo.close()

    told: list[str] = []
    with (
        Played(lambda asked: asked.send(ok="seen")) as agent,
        stranger(3, talk, agent.url) as (url, _),
    ):
        asyncio.run(asyncio.wait_for(main(url), 60))
    assert told
    assert all("answered hello with what cannot be read" in text for text in told)


def test_calls_end_in_time_while_messages_keep_coming() -> None:
    """Others have their turn too."""

    def flood(asked: Asked) -> None:
        if asked.proc == "look":
            asked.send(ok="seen")
            return
        while not over.is_set():
            for _ in range(200):
                asked.send(progress=[1, 2, "flood"])

    async def main(url: str) -> float:
        worst = 0.0

        async def tick() -> None:
            nonlocal worst
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - before)

        async with AsyncProxy(url, "foo") as foo:
            assert await foo.look() == "seen"
            ticking = asyncio.ensure_future(tick())
            began = time.monotonic()
            with pytest.raises(OutcomeUnknown):
                await foo.push(timeout=0.3)
            took = time.monotonic() - began
            ticking.cancel()
        assert worst < 0.5, f"the loop stood still for {worst:.2f} s"
        return took

    over = threading.Event()
    stop = threading.Timer(4, over.set)
    stop.start()
    with Played(flood) as agent:
        took = asyncio.run(main(agent.url))
        assert not over.is_set()
        over.set()
    stop.cancel()
    assert took < 1


# Connections that end without a word.


class Wire:
    """Passes connections on to an agent; those of before `cut` are swallowed, and stay open."""

    def __init__(self, url: str) -> None:
        self.made = 0
        self._agent = ("127.0.0.1", int(url.rpartition(":")[2]))
        self._listener = net.create_server(("127.0.0.1", 0))
        self._sockets = [self._listener]
        self._first = 1
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def _begin(self, *does: Any) -> None:
        self._threads.append(threading.Thread(target=does[0], args=does[1:], daemon=True))
        self._threads[-1].start()

    def cut(self) -> None:
        self._first = self.made + 1

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self._listener.accept()
                self.made += 1
                agent = net.create_connection(self._agent)
                self._sockets += (taken, agent)
                for way in ((taken, agent), (agent, taken)):
                    self._begin(self._carry, *way, self.made)

    def _carry(self, source: net.socket, sink: net.socket, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if number >= self._first:
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(net.SHUT_RDWR)

    def close(self) -> None:
        for socket in self._sockets:
            with contextlib.suppress(OSError):
                socket.shutdown(net.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for socket in self._sockets:
            socket.close()


@pytest.fixture
def seen() -> Iterator[Played]:
    with Played(lambda asked: asked.send(ok="seen"), ("kept",)) as agent:
        yield agent


@pytest.fixture
def wire(seen: Played) -> Iterator[Wire]:
    wire = Wire(seen.url)
    yield wire
    wire.close()


def test_a_connection_that_swallows_everything_is_given_up(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call that finds it out is not answered; the next says hello first, and is."""
    monkeypatch.setattr(aio, "HELLO_PATIENCE_S", 0.5)

    async def main() -> None:
        async with AsyncProxy(wire.url, "foo", timeout=20) as foo:
            assert await foo.look() == "seen"
            wire.cut()
            with pytest.raises(OutcomeUnknown):
                await foo.push(timeout=0.1)
            assert await asyncio.gather(*(foo.push() for _ in range(5))) == ["seen"] * 5
            assert wire.made == 2

    asyncio.run(main())


@pytest.mark.parametrize("cancelled", [False, True])
def test_callers_with_less_patience_than_hello_get_over_it_too(wire: Wire, cancelled: bool) -> None:
    async def look(foo: AsyncProxy) -> Any:
        if cancelled:
            return await asyncio.wait_for(foo.look(timeout=20), 0.1)
        return await foo.look(timeout=0.1)

    async def main() -> None:
        async with AsyncProxy(wire.url, "foo") as foo:
            assert await foo.look() == "seen"
            wire.cut()
            failed = 0
            while True:
                try:
                    assert await look(foo) == "seen"
                    break
                except (CallError, asyncio.TimeoutError):
                    failed += 1
            assert 0 < failed < 20

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_slow_object_is_no_dead_connection(wire: Wire, seen: Played) -> None:
    seen.answer = lambda asked: asked.proc == "push" or asked.send(ok="seen")

    async def main() -> None:
        async with AsyncProxy(wire.url, "foo", timeout=20) as foo:
            for _ in range(3):
                with pytest.raises(OutcomeUnknown):
                    await foo.push(timeout=0.3)
                assert await foo.look() == "seen"
            assert wire.made == 1

    asyncio.run(main())
