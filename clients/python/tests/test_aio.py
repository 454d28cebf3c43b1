"""The asyncio client where the other side, the network or its program do as they should not."""

from __future__ import annotations

import asyncio
import socket as net
import threading
import time
from typing import Any

import msgpack
import pytest

from played import Asked, Played
from proximity import AsyncProxy, NotSent, OutcomeUnknown, _codec
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
