"""Agents that come late: what was given up is not delivered, and nobody storms them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket as net
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zmq

from conftest import free_url, until
from played import Played
from proximity import AsyncProxy, NotSent, OutcomeUnknown, Proxy, _dealer
from proximity._dealer import dealer
from proximity._session import HELLO

GIVEN_UP_S = 0.2


def test_what_was_given_up_is_never_delivered() -> None:
    """However it was asked for: it was not sent, so an agent that comes later gets nothing."""
    url = free_url()
    plain, batched, beside = (Proxy(url, "foo", timeout=GIVEN_UP_S) for _ in range(3))

    def in_a_batch() -> Any:
        with batched.batch() as batch:
            futures = [batch.push() for _ in range(5)]
        for future in futures:
            assert isinstance(future.exception(), NotSent)
        return futures[0].result()

    async def asynchronous() -> None:
        async with AsyncProxy(agent.url, "foo") as foo:
            assert await foo.look() == "seen"

    async def given_up() -> AsyncProxy:
        foo = AsyncProxy(url, "foo", timeout=GIVEN_UP_S)
        with pytest.raises(NotSent):
            await foo.push()
        return foo

    async def given_up_and_kept() -> None:
        foo = await given_up()
        with Played(lambda asked: asked.send(ok="seen"), url=url) as late:
            assert await foo.with_timeout(20).look() == "seen"
            assert [call[0] for call in late.calls] == ["look"]
        foo.close()

    asyncio.run(given_up_and_kept())
    for _ in range(3):
        for attempt in (
            lambda: Proxy.call_async(plain, "push").result(),
            lambda: Proxy.call_async(beside, "push").result(),
            lambda: Proxy.with_timeout(plain, GIVEN_UP_S).push(),
            in_a_batch,
        ):
            with pytest.raises(NotSent):
                attempt()
    with Played(lambda asked: asked.send(ok="seen"), url=url) as agent:
        for proxy in (plain, batched, beside):
            assert Proxy.with_timeout(proxy, 20).look() == "seen"
            assert Proxy.call_async(proxy, "look", timeout=20).result() == "seen"
        asyncio.run(asynchronous())
        assert {call[0] for call in agent.calls} == {"look"}
    for proxy in (plain, batched, beside):
        proxy.close()


def test_a_call_that_waits_for_the_agent_is_made_when_it_comes() -> None:
    for pause in (0.05, 0.5, 1.5):
        url = free_url()
        with Proxy(url, "foo", timeout=20) as foo:
            call = foo.call_async("look")
            time.sleep(pause)
            with Played(lambda asked: asked.send(ok="seen"), url=url) as agent:
                began = time.monotonic()
                assert call.result() == "seen"
                # At most the last pause between two attempts, and what a busy machine adds.
                assert time.monotonic() - began < 3
                assert len(agent.calls) == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_after_a_loss_it_does_not_wait_for_the_pause(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """The pause between two attempts is a minute here; only what is begun anew finds the agent."""
    monkeypatch.setattr(_dealer, "RECONNECT_FIRST_MS", (60_000, 60_000))
    monkeypatch.setattr(_dealer, "RECONNECT_MOST_MS", (60_000, 60_000))
    monkeypatch.setattr(_dealer, "HURRY_S", 30)

    def seen(asked: Any) -> None:
        asked.send(ok="seen")

    async def lost_and_found(url: str, first: Played) -> None:
        async with AsyncProxy(url, "foo", timeout=20) as foo:
            assert await foo.look() == "seen"
            first.__exit__(None, None, None)
            call = asyncio.ensure_future(foo.look())
            await asyncio.sleep(0.1)
            with Played(seen, url=url, epoch=2):
                assert await call == "seen"

    with Played(seen) as first:
        if asynchronous:
            asyncio.run(lost_and_found(first.url, first))
            return
        with Proxy(first.url, "foo", timeout=20) as foo:
            assert foo.look() == "seen"
            first.__exit__(None, None, None)
            with ThreadPoolExecutor() as pool:
                call = pool.submit(foo.look)
                time.sleep(0.1)
                with Played(seen, url=first.url, epoch=2):
                    assert call.result() == "seen"


# A ZMTP 3 greeting without security, and then no READY: libzmq hangs up, and tries no more.
NONSENSE = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(52, b"\0") + b"\x04\x05HELLO"


@contextlib.contextmanager
def stranger(
    count: int, does: Callable[[net.socket], object], url: str | None = None
) -> Iterator[tuple[str, threading.Event]]:
    """Does that to the first connections and passes others on to `url`; tells when it is done."""
    done = threading.Event()
    listener = net.create_server(("127.0.0.1", 0))

    def take() -> None:
        for _ in range(count):
            taken, _ = listener.accept()
            with taken, contextlib.suppress(OSError):
                does(taken)
        done.set()
        with contextlib.suppress(OSError):
            while url:
                taken, _ = listener.accept()
                agent = net.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
                for way in ((taken, agent), (agent, taken)):
                    threading.Thread(target=carry, args=way, daemon=True).start()

    threading.Thread(target=take, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}", done
    finally:
        listener.close()


def carry(source: net.socket, sink: net.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(net.SHUT_WR)


def say_nonsense(taken: net.socket) -> None:
    taken.sendall(NONSENSE)
    while taken.recv(1 << 10):
        pass


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_client_that_understood_nothing_of_what_answered_tries_again(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """So often that what is begun anew in a hurry is not understood either."""
    monkeypatch.setattr(_dealer, "GIVEN_UP_S", (0.3, 0.4))

    async def ask(url: str) -> Any:
        async with AsyncProxy(url, "foo", timeout=30) as foo:
            return await foo.look()

    with (
        Played(lambda asked: asked.send(ok="seen")) as agent,
        stranger(10, say_nonsense, agent.url) as (url, done),
    ):
        if asynchronous:
            assert asyncio.run(ask(url)) == "seen"
        else:
            with Proxy(url, "foo", timeout=30) as foo:
                assert foo.look() == "seen"
        assert done.is_set()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_who_is_hung_up_on_at_once_is_in_no_hurry_to_come_again(asynchronous: bool) -> None:
    """As by a tunnel without an agent behind it, while a call waits and after that."""
    came: list[float] = []
    with (
        stranger(1_000, lambda taken: came.append(time.monotonic())) as (url, _),
        Proxy(url, "foo", timeout=1) as foo,
    ):
        with pytest.raises(NotSent):
            if asynchronous:
                foo.call_async("look").result()
            else:
                foo.look()
        time.sleep(2)
        assert 3 <= len(came) <= 30


def test_a_connection_that_fails_without_end_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an idle connection's monitor tells is not read; libzmq must not wait for that."""
    for name in ("RECONNECT_FIRST_MS", "RECONNECT_MOST_MS"):
        monkeypatch.setattr(_dealer, name, (1, 1))
    context: Any = zmq.Context()
    # libzmq's own queues would be full after 1,000 connections that come and go.
    with stranger(1_200, lambda taken: None) as (url, done):
        idle, monitor = _dealer.opened(context, url)
        assert done.wait(60)
        with Played(lambda asked: asked.send(ok="seen")) as agent:
            other = dealer(context, agent.url)
            other.connect(agent.url)
            assert other.poll(10_000, zmq.POLLOUT), "it is connected"
            other.close()
        _dealer.shut(idle, monitor)
    context.destroy(0)


@contextlib.contextmanager
def way(url: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Passes connections on; those there are can go dead as where a machine is switched off."""
    listener = net.create_server(("127.0.0.1", 0))
    dead = [threading.Event()]
    ends: list[net.socket] = []

    def pass_on(source: net.socket, sink: net.socket, is_dead: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not is_dead.is_set():
                    sink.sendall(data)

    def take() -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = listener.accept()
                agent = net.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
                ends.extend((taken, agent))
                for way in ((taken, agent), (agent, taken)):
                    threading.Thread(target=pass_on, args=(*way, dead[0]), daemon=True).start()

    def die() -> None:
        dead[0].set()
        dead[0] = threading.Event()

    threading.Thread(target=take, daemon=True).start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}", die
    finally:
        for end in (listener, *ends):
            end.close()


def test_a_way_that_went_dead_costs_one_call_its_time_and_not_each() -> None:
    with (
        Played(lambda asked: asked.send(ok="seen")) as agent,
        way(agent.url) as (url, die),
        Proxy(url, "foo", timeout=20) as foo,
    ):
        assert foo.look() == "seen"
        now, link = time.monotonic(), foo._link
        idle = [link.take() for _ in range(5)]
        for connection in idle:
            link.hello(connection, HELLO, now, now + 20)
            link.give_back(connection)
        die()
        with pytest.raises(OutcomeUnknown):
            foo.look(timeout=0.2)
        assert foo.look(timeout=10) == "seen"
        now = time.monotonic()
        for _ in range(5):
            assert foo.look(timeout=10) == "seen"
        assert time.monotonic() - now < 5


def test_an_idle_connection_is_asked_whether_it_still_stands() -> None:
    with Played(lambda asked: asked.send(ok="seen")) as agent, Proxy(agent.url, "foo") as foo:
        assert foo.look() == "seen"
        port = f":{int(agent.url.rpartition(':')[2]):04X}"

        def question() -> list[str]:
            """The timer of our end of the connection: which it is, and when it is due."""
            lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
            (timer,) = [line[5] for line in lines if line[2].endswith(port) and line[3] == "01"]
            return [part for part in timer.split(":") if timer.startswith("02")]

        _, due = until(question, "a keepalive is due")
        assert int(due, 16) <= 10 * os.sysconf("SC_CLK_TCK")


def test_many_clients_do_not_storm_an_agent_that_is_away() -> None:
    """At most 1.5 attempts a second each once it is away for two seconds, at times of their own."""
    count, url = 200, free_url()
    context: Any = zmq.Context()
    sockets = [dealer(context, url) for _ in range(count)]
    monitors = [socket.get_monitor_socket(zmq.EVENT_CONNECT_RETRIED) for socket in sockets]
    for socket in sockets:
        socket.connect(url)
    try:
        time.sleep(2)
        attempts(monitors)
        began = time.monotonic()
        time.sleep(2)
        pauses = attempts(monitors)
        took = time.monotonic() - began
        assert len(pauses) <= 1.5 * count * took, f"{len(pauses)} attempts in {took:.1f} s"
        assert len(pauses) >= 0.5 * count * took, "they do try"
        assert len(set(pauses)) > 20, "each at times of its own"
        assert max(pauses) <= 1000
        with Played(lambda asked: None, url=url):
            began = time.monotonic()
            for socket in sockets:
                assert socket.poll(10_000, zmq.POLLOUT)
            assert time.monotonic() - began < 4, "all are back"
    finally:
        for socket in sockets:
            socket.disable_monitor()
        for monitor in monitors:
            monitor.close(0)
        context.destroy(0)


def attempts(monitors: list[Any]) -> list[int]:
    """Gives the pause behind each attempt since the last time."""
    pauses = []
    for monitor in monitors:
        while monitor.poll(0):
            event, _ = monitor.recv_multipart()
            pauses.append(int.from_bytes(event[2:6], "little"))
    return pauses
