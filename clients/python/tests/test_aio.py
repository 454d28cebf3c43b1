"""The asyncio client where the other side, the network or its program do as they should not."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket as net
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq
import zmq.asyncio

from conftest import free_url, until
from objects import Bench
from played import Asked, Played
from proximity import AsyncProxy, CallError, NotSent, OutcomeUnknown, Proxy, Server, _codec, aio
from test_reconnect import stranger
from test_resilience import fds

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
    "an error that tells nothing": b"\x82\xa1v\x02\xa5error\x80",
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
    """As a peer of ZMTP 1.0: an empty identity, and for each hello what is no value."""
    taken.sendall(b"\x01\x00")
    came = b""
    for count in (1, 2):
        while came.count(b"hello") < count:
            data = taken.recv(1 << 10)
            if not data:
                return
            came += data
        taken.sendall(b"\x04\x00\x91\x91\xc1" + b"\x05\x00\x81\x91\x01\x01" * 100)


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
        stranger(1, talk, agent.url) as (url, _),
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


def test_a_connection_that_goes_in_mid_message_sends_it_again(
    seen: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq takes back what it has of the message, and pyzmq lets the EAGAIN through."""

    def send_multipart(self: Any, parts: Any, flags: int = 0, **kwargs: Any) -> Any:
        if len(parts) < 2 or not broken:
            return original(self, parts, flags, **kwargs)
        return failed(broken.pop())

    def failed(error: Exception) -> asyncio.Future[Any]:
        sending = asyncio.get_running_loop().create_future()
        sending.set_exception(error)
        return sending

    async def main() -> None:
        # Only before it is known to be an agent has a request two parts.
        broken.extend([zmq.Again(), zmq.Again()])
        async with AsyncProxy(seen.url, "foo", timeout=20) as foo:
            assert await foo.push() == "seen"
            assert not broken
        # As if the proxy were closed in the next turn.
        foo = AsyncProxy(seen.url, "foo", timeout=20)
        broken.append(zmq.Again())
        call = asyncio.ensure_future(foo.push())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        foo.close()
        with pytest.raises(NotSent, match="was closed"):
            await call

    broken: list[Exception] = []
    original = zmq.asyncio.Socket.send_multipart
    monkeypatch.setattr(zmq.asyncio.Socket, "send_multipart", send_multipart)
    asyncio.run(asyncio.wait_for(main(), 60))


def test_an_agent_is_sent_one_frame_once_it_is_known(seen: Played) -> None:
    """libzmq ends the program where a connection is lost between two frames of a reply."""

    async def main() -> None:
        async with AsyncProxy(seen.url, "foo", timeout=20) as foo:
            assert await asyncio.gather(*(foo.push() for _ in range(5))) == ["seen"] * 5

    asyncio.run(main())
    with Proxy(seen.url, "foo", timeout=20) as foo:
        assert foo.push() == "seen"
    assert seen.delimited == ["hello", "hello"]


def test_a_call_that_is_cancelled_as_the_connection_comes_back_is_not_made(seen: Played) -> None:
    """Before Python 3.12, wait_for would swallow it, and the call be made."""

    async def main() -> None:
        async with AsyncProxy(seen.url, "foo", timeout=20) as foo:
            assert await foo.push() == "seen"
            channel = foo._link.channel()
            channel._up.clear()
            made = len(seen.calls)
            call = asyncio.ensure_future(foo.push())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            channel._up.set()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await foo.look() == "seen"
            assert [method for method, *_ in seen.calls[made:]] == ["look"]

    asyncio.run(asyncio.wait_for(main(), 60))


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


# What is left behind.


def in_two_loops(url: str) -> None:
    proxy = AsyncProxy(url, "foo", timeout=20)

    async def look(times: int) -> None:
        for _ in range(times):
            assert await proxy.look() == "seen"

    threads = [threading.Thread(target=lambda: asyncio.run(look(30))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_one_loop_after_another(url: str) -> None:
    proxy = AsyncProxy(url, "foo", timeout=20)

    async def look() -> Any:
        return await proxy.look()

    for _ in range(30):
        assert asyncio.run(look()) == "seen"


def dropped_in_a_loop(url: str) -> None:
    async def main() -> None:
        before = fds()
        for _ in range(30):
            assert await AsyncProxy(url, "foo", timeout=20).look() == "seen"
        end = time.monotonic() + 20
        while fds() > before + 10:
            assert time.monotonic() < end, "connections of dropped proxies are closed"
            await asyncio.sleep(0.01)

    asyncio.run(main())


def closed_after_each_future(url: str) -> None:
    proxy = Proxy(url, "foo", timeout=20)
    for _ in range(30):
        assert Proxy.call_async(proxy, "look").result() == "seen"
        proxy.close()


@pytest.mark.parametrize(
    "use", [in_two_loops, in_one_loop_after_another, dropped_in_a_loop, closed_after_each_future]
)
def test_no_connection_is_left_behind(seen: Played, use: Any) -> None:
    with Proxy(seen.url, "foo") as first:  # what is made once and kept
        assert Proxy.call_async(first, "look").result() == "seen"
    most: list[int] = [0]
    before, over = fds(), threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            most[0] = max(most[0], fds())

    watching = threading.Thread(target=watch)
    watching.start()
    use(seen.url)
    over.set()
    watching.join()
    gc.collect()
    until(lambda: fds() <= before + 2, "all is closed")
    # libzmq closes a moment later, and a proxy in use has some; 30 connections have 100.
    if use is not dropped_in_a_loop:
        assert most[0] < before + 60


FORKED = """
import asyncio, os, sys
from proximity import AsyncProxy

async def count(proxy):
    assert await proxy.echo(os.getpid()) == os.getpid()

used, unused = (AsyncProxy(sys.argv[1], "bench", timeout=10) for _ in range(2))
asyncio.run(count(used))
child = os.fork()
for proxy in (used, unused):
    for _ in range(3):
        asyncio.run(count(proxy))
if child == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
asyncio.run(count(used))
print("done")
"""


def test_an_async_proxy_may_be_used_after_fork(server: Server) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "done\n", "")


NO_THREAD = """
import sys, threading
from proximity import Proxy

def fail(self):
    raise RuntimeError("can't start new thread")

proxy = Proxy(sys.argv[1], "bench", timeout=10)
start, threading.Thread.start = threading.Thread.start, fail
try:
    proxy.call_async("echo", 1)
except RuntimeError as error:
    print(error)
threading.Thread.start = start
print(proxy.call_async("echo", 2).result(10))
"""


def test_a_thread_that_cannot_be_started_is_told_and_tried_again(server: Server) -> None:
    run = subprocess.run(
        [sys.executable, "-c", NO_THREAD, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "can't start new thread\n2\n", "")


@pytest.mark.parametrize("closed_first", [False, True])
def test_a_call_that_is_cancelled_and_its_proxy_closed_is_cancelled(
    server: Server, bench: Bench, closed_first: bool
) -> None:
    async def main() -> None:
        proxy = AsyncProxy(server.url, "bench", timeout=20)
        held = asyncio.ensure_future(proxy.hold())
        await asyncio.get_running_loop().run_in_executor(None, bench.entered.acquire)
        steps = [lambda: held.cancel(), proxy.close]
        for step in reversed(steps) if closed_first else steps:
            step()
        with pytest.raises(asyncio.CancelledError):
            await held
        bench.gate.set()
        assert await proxy.count() == 1, "using it again opens another connection"
        proxy.close()

    complaints: list[Any] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        await main()
        gc.collect()

    asyncio.run(watched())
    assert complaints == []


def test_a_call_that_waits_for_its_agent_ends_when_its_proxy_is_closed() -> None:
    async def main() -> None:
        proxy = AsyncProxy(free_url(), "foo", timeout=60)
        waiting = asyncio.ensure_future(proxy.look())
        await asyncio.sleep(0.1)
        proxy.close()
        with pytest.raises(NotSent, match=r"foo\.look was not sent: the connection .* was closed"):
            await asyncio.wait_for(waiting, 5)

    asyncio.run(main())
