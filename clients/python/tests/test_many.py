"""Many calls at once: batches, futures, broadcasts, asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import LOOPBACK, Process, binary, free_url, is_sent, until
from objects import Bench
from played import Asked, Played
from proximity import (
    AsyncProxy,
    NotExecuted,
    NotSent,
    OutcomeUnknown,
    Proxy,
    Server,
    Timeout,
    _codec,
    broadcast,
)
from test_resilience import interrupt_when

# Batches.


def test_a_batch_gives_each_call_its_own_result(proxy: Proxy) -> None:
    with proxy.batch() as batch:
        sums = [batch.add(number, 1) for number in range(500)]
        bad = batch.divide(1, 0)
        unsendable = batch.echo({1, 2})
        last = batch.count()
    assert [call.result() for call in sums] == list(range(1, 501))
    assert isinstance(bad.exception(), ZeroDivisionError)
    assert isinstance(unsendable.exception(), TypeError)
    assert last.result() == 1
    assert len(batch) == 503
    assert list(batch)[-1] is last


def test_a_batch_does_not_wait_for_each_answer_in_turn(
    proxy: Proxy, server: Server, bench: Bench
) -> None:
    proxy.add(1)
    waiting = server._workers["bench"]._waiting

    def open_when_they_wait() -> None:
        bench.entered.acquire()
        until(lambda: len(waiting) == 10, "the other calls were sent")
        bench.gate.set()

    opener = threading.Thread(target=open_when_they_wait)
    opener.start()
    with proxy.batch() as batch:
        held = batch.hold()
        counts = [batch.count() for _ in range(10)]
    opener.join()
    assert held.result() == "held"
    assert [call.result() for call in counts] == list(range(1, 11))


def test_a_batch_that_is_left_by_an_error_sends_nothing(proxy: Proxy, bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError), proxy.batch() as batch:
        call = batch.count()
        _ = 1 / 0
    assert call.cancelled()
    assert bench.calls == 0


def test_a_batch_is_not_waited_for_before_it_is_sent(proxy: Proxy) -> None:
    with pytest.raises(RuntimeError, match=r"write: with bench.batch\(\) as batch: batch.add\("):
        proxy.batch().add(1)
    with proxy.batch() as batch:
        call = batch.add(1)
        for wait in (call.result, call.exception):
            with pytest.raises(RuntimeError, match="made when its with block ends"):
                wait()
    assert call.result() == 3
    with batch:
        again = batch.add(2)
    assert [future.result() for future in batch] == [again.result()] == [4]


def test_a_batch_ends_within_its_time(proxy: Proxy, bench: Bench) -> None:
    proxy.add(1)
    began = time.monotonic()
    with proxy.batch(timeout=0.3) as batch:
        first = batch.echo(1)
        held = batch.hold()
        behind = [batch.count() for _ in range(40)]
    assert time.monotonic() - began < 2
    assert first.result() == 1
    assert isinstance(held.exception(), OutcomeUnknown)
    assert isinstance(held.exception(), Timeout)
    kinds = {type(call.exception()).__name__ for call in behind}
    assert kinds == {"OutcomeUnknown", "NotSent"}
    bench.gate.set()
    assert proxy.count() == 1, "none of the calls that waited ran"


def test_a_batch_to_nobody_and_to_one_that_dies() -> None:
    with Proxy(free_url(), "thing", timeout=0.2).batch() as batch:
        calls = [batch.double(1), batch.double(2)]
    assert all(isinstance(call.exception(), NotSent) for call in calls)
    with Process() as process, Proxy(process.url, "thing", timeout=10) as proxy:
        proxy.double(1)
        with proxy.batch(timeout=3) as batch:
            calls = [batch.sleep(0.0), batch.sleep(5.0), batch.sleep(0.0)]
            calls[0].add_done_callback(lambda _: process.child.kill())
        assert calls[0].result() == 0.0
        assert all(isinstance(call.exception(), OutcomeUnknown) for call in calls[1:])
        process.wait()


def test_a_batch_survives_a_restart() -> None:
    with Process() as process, Proxy(process.url, "thing", timeout=10) as proxy:
        proxy.double(1)
        process.kill()
        process.start()
        with proxy.batch() as batch:
            calls = [batch.double(number) for number in range(100)]
        assert [call.result() for call in calls] == [2 * number for number in range(100)]


def test_a_call_of_a_batch_that_was_cancelled_is_not_made(proxy: Proxy, bench: Bench) -> None:
    with proxy.batch() as batch:
        first, second, third = batch.count(), batch.count(), batch.count()
        assert second.cancel()
    assert (first.result(), third.result()) == (1, 2)
    assert not first.cancel()
    assert bench.calls == 2
    done, waiting = concurrent.futures.wait([first, second, third], 5)
    assert (len(done), len(waiting)) == (3, 0)
    with proxy.batch() as batch:
        assert batch.count().cancel()
    assert bench.calls == 2


class Odd:
    """Of a kind that an encoder of the user's fails at."""


def test_an_encoder_that_fails_ends_its_own_call_of_a_batch(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encoder(handled: list[Any]) -> list[Any]:
        if isinstance(handled[1], Odd):
            raise LookupError("the encoder's own")
        return handled

    proxy.add(1)
    monkeypatch.setattr(_codec, "_encoders", [encoder])
    with proxy.batch() as batch:
        first, odd, last = batch.count(), batch.echo(Odd()), batch.count()
    assert (first.result(1), last.result(1)) == (1, 2)
    assert isinstance(odd.exception(1), LookupError)


def test_ctrl_c_at_the_end_of_a_batch_leaves_no_future_waiting(
    proxy: Proxy, server: Server, bench: Bench
) -> None:
    proxy.add(1)
    proxy._link.session.window = 2
    waiting = server._workers["bench"]._waiting
    interrupter = interrupt_when(
        lambda: bench.entered.acquire() and until(lambda: waiting, "two calls were sent")
    )
    calls = []
    with pytest.raises(KeyboardInterrupt), proxy.batch() as batch:
        calls = [batch.hold(), batch.count(), batch.count()]
    interrupter.join()
    assert all(isinstance(call.exception(1), OutcomeUnknown) for call in calls[:2])
    assert "its batch was ended before the answer" in str(calls[0].exception())
    assert calls[2].cancelled(), "it was not sent"
    bench.gate.set()


def test_a_batch_to_an_agent_without_room_tells_as_one_call_does(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        'listen = ["tcp://127.0.0.1:0"]\nconnections = 1\n[objects.counter]\ndriver = "counter"\n'
    )
    command = [str(binary("PROXIMITY_AGENT_BIN", "proximity-agent")), "serve", "-c", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1]
        with Proxy(url, "counter") as only, Proxy(url, "counter", timeout=10) as other:
            assert only.add(1) == 1
            with other.batch() as batch:
                calls = [batch.add(1), batch.add(1)]
            with pytest.raises(NotExecuted) as told:
                other._link.greet(10)
        process.terminate()
    for call in calls:
        error = call.exception()
        assert isinstance(error, NotExecuted)
        assert (error.reason, str(error)) == ("TooManyPeers", str(told.value))


def test_a_batch_ends_in_time_while_messages_keep_coming() -> None:
    over = threading.Event()

    def flood(asked: Asked) -> None:
        while not over.is_set():
            asked.send(progress=[1, 2, "flood"])
            time.sleep(0.001)

    stop = threading.Timer(5, over.set)
    stop.start()
    with Played(flood) as agent, Proxy(agent.url, "foo") as foo:
        with foo.batch(timeout=0.3) as batch:
            call = batch.push()
        assert not over.is_set()
        over.set()
    stop.cancel()
    assert isinstance(call.exception(), OutcomeUnknown)
    assert isinstance(call.exception(), Timeout)


def test_an_answer_that_cannot_be_read_ends_the_calls_of_a_batch_that_wait() -> None:
    def answer(asked: Asked) -> None:
        if asked.proc == "push":
            asked.agent.socket.send_multipart([*asked.envelope, b"\x05"])
        elif asked.proc == "read":
            asked.send(error={})
        else:
            asked.send(ok="seen")

    with Played(answer) as agent, Proxy(agent.url, "foo", timeout=10) as foo:
        with foo.batch() as batch:
            calls = [batch.look(), batch.read(), batch.push(), batch.push()]
        assert calls[0].result() == "seen"
        for call in calls[1:]:
            assert isinstance(call.exception(), OutcomeUnknown)
            assert "cannot be read" in str(call.exception())
        assert foo.look() == "seen"


# Futures.


def test_futures_run_beside_the_caller(proxy: Proxy, bench: Bench) -> None:
    held = proxy.call_async("hold")
    bench.entered.acquire()
    assert not held.done()
    bench.gate.set()
    assert held.result(5) == "held"
    calls = [proxy.call_async("add", number, y=1) for number in range(20)]
    assert [call.result() for call in concurrent.futures.as_completed(calls)]
    assert [call.result() for call in calls] == [number + 1 for number in range(20)]
    error = proxy.call_async("divide", 1, 0).exception()
    assert isinstance(error, ZeroDivisionError)
    error = proxy.call_async("nothing").exception()
    assert isinstance(error, AttributeError)


def test_a_future_ends_within_its_time(proxy: Proxy) -> None:
    began = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        proxy.call_async("sleep", 5, timeout=0.2).result()
    with pytest.raises(NotSent):
        Proxy(free_url(), "x", timeout=0.2).call_async("f").result()
    assert time.monotonic() - began < 2


def test_a_cancelled_future_takes_its_call_back(proxy: Proxy, bench: Bench) -> None:
    held = proxy.call_async("hold")
    bench.entered.acquire()
    waiting = proxy.call_async("count")
    with pytest.raises(concurrent.futures.TimeoutError):
        waiting.result(0.2)
    assert waiting.cancel()
    # What is asked on the same connection afterwards was told after the cancelling.
    assert proxy.call_async("echo", 1, timeout=0.2).exception() is not None
    bench.gate.set()
    assert held.result(5) == "held"
    assert proxy.count() == 1


# Broadcasts.


@pytest.fixture
def fleet() -> Iterator[list[Server]]:
    servers = []
    for number in range(8):
        board = Bench()
        board.gain = number
        server = Server(LOOPBACK)
        server.expose("board", board, attributes=True)
        servers.append(server.start())
    yield servers
    for server in servers:
        server.stop()


def test_a_broadcast_gives_values_and_errors_side_by_side(fleet: list[Server]) -> None:
    boards = [Proxy(server.url, "board") for server in fleet]
    boards.insert(3, Proxy(free_url(), "board"))
    boards.append(Proxy(fleet[0].url, "none"))
    began = time.monotonic()
    answers = broadcast(boards).add(1, y=2, timeout=0.5)
    assert time.monotonic() - began < 1.5
    assert [answer.value for answer in answers] == [3, 3, 3, None, 3, 3, 3, 3, 3, None]
    assert isinstance(answers[3].error, NotSent)
    assert isinstance(answers[-1].error, KeyError)
    assert all(answer.error is None for answer in answers[4:9])
    assert [answer.object for answer in answers] == boards
    assert repr(answers[0]) == f"<{fleet[0].url} board: 3>"
    assert "NotSent: board.add" in repr(answers[3]) or "NotSent: hello" in repr(answers[3])
    everything = broadcast(boards[:3])
    assert len(everything) == 3
    assert "add" in dir(everything)
    for board in boards:
        board.close()


def test_a_broadcast_to_what_is_no_proxy_is_said(proxy: Proxy) -> None:
    with pytest.raises(TypeError, match="takes a list of proxies"):
        broadcast(proxy)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes proxies, not str"):
        broadcast(["tcp://colossus:5555"])  # type: ignore[list-item]


def test_a_broadcast_asks_all_at_the_same_time(fleet: list[Server]) -> None:
    boards = [Proxy(server.url, "board") for server in fleet]
    began = time.monotonic()
    answers = broadcast(boards).sleep(0.4)
    assert time.monotonic() - began < 1.5
    assert all(answer.value == 0.4 for answer in answers)
    for board in boards:
        board.close()


# asyncio.


def test_an_async_proxy_calls_and_has_the_interface(server: Server) -> None:
    async def main() -> None:
        async with AsyncProxy(server.url, "bench") as bench:
            assert "add" in dir(bench)
            assert bench.add.__doc__.startswith("usage: add(x, y)")
            assert await bench.add(2, 3) == 5
            sums = await asyncio.gather(*(bench.add(number) for number in range(30)))
            assert sums == [number + 2 for number in range(30)]
            with pytest.raises(ZeroDivisionError):
                await bench.divide(1, 0)
            with pytest.raises(AttributeError, match="'bench' has no 'nothing'"):
                bench.nothing()
            assert await bench.get("gain") == 3
            await bench.set("gain", 8)
            assert await bench.get("gain") == 8
            assert repr(bench) == f"<AsyncProxy 'bench' at {server.url}>"

    asyncio.run(main())


def test_an_async_proxy_needs_no_interface_to_call(server: Server) -> None:
    async def main() -> None:
        bench = AsyncProxy(server.url, "bench")
        assert await bench.add(2, 3) == 5
        with pytest.raises(AttributeError, match="no method 'nothing'"):
            await bench.nothing()
        bench.close()

    asyncio.run(main())


def test_async_calls_end_within_their_time(server: Server, bench: Bench) -> None:
    async def main() -> None:
        proxy = AsyncProxy(server.url, "bench", timeout=0.2)
        # Else a slow machine may need the time to connect.
        assert await proxy.with_timeout(10).add(1) == 3
        held = asyncio.ensure_future(proxy.hold())
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await held
        assert time.monotonic() - began < 2
        nobody = AsyncProxy(free_url(), "x", timeout=0.2)
        with pytest.raises(NotSent):
            await nobody.f()
        nobody.close()
        bench.gate.set()
        assert await proxy.with_timeout(10).add(1) == 3
        proxy.close()

    asyncio.run(main())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_cancelled_task_takes_its_call_back(server: Server, bench: Bench, at_once: bool) -> None:
    """Also in the turn of the loop in which the request was sent."""

    async def main() -> None:
        proxy = AsyncProxy(server.url, "bench")
        held = asyncio.ensure_future(proxy.hold())
        await asyncio.get_running_loop().run_in_executor(None, bench.entered.acquire)
        waiting = asyncio.ensure_future(proxy.count())
        if at_once:
            await asyncio.sleep(0)
            waiting.cancel()
            # Is taken in after what was told before it.
            assert await proxy.connect() is proxy
        queue: list[Any] = server._workers["bench"]._waiting
        while not queue and not at_once:
            await asyncio.sleep(0.001)
        waiting.cancel()
        while queue:
            await asyncio.sleep(0.001)
        bench.gate.set()
        assert await held == "held"
        assert await proxy.count() == 1
        proxy.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_async_nested_objects_and_restarts() -> None:
    async def main(process: Process) -> None:
        thing = await AsyncProxy(process.url, "thing", timeout=10).connect()
        assert await thing.only_a() == "a"
        process.kill()
        process.start("b")
        assert await thing.double(4) == 8
        await thing.connect()
        assert await thing.only_b() == "b"
        thing.close()

    with Process() as process:
        asyncio.run(main(process))

    async def nested(url: str) -> None:
        async with AsyncProxy(url, "animals") as animals:
            assert await animals.angry.add(1) == 3

    server = Server(LOOPBACK)
    server.expose("animals.angry", Bench())
    with server:
        asyncio.run(nested(server.url))


def test_one_async_proxy_in_two_loops_after_each_other(server: Server) -> None:
    proxy = AsyncProxy(server.url, "bench")

    async def once() -> Any:
        value = await proxy.add(1)
        proxy.close()
        return value

    assert asyncio.run(once()) == 3
    assert asyncio.run(once()) == 3


def test_an_async_call_to_an_agent_that_is_restarted_is_told() -> None:
    async def main(process: Process) -> None:
        thing = AsyncProxy(process.url, "thing", timeout=20)
        assert await thing.double(1) == 2
        call = asyncio.ensure_future(thing.sleep(15))
        while not is_sent("sleep", thing._link):
            await asyncio.sleep(0.001)
        process.kill()
        process.start()
        with pytest.raises(OutcomeUnknown, match="was restarted before its answer"):
            await asyncio.wait_for(call, 10)
        thing.close()

    with Process() as process:
        asyncio.run(main(process))


def test_not_executed_is_its_own_kind(proxy: Proxy, server: Server, bench: Bench) -> None:
    held = proxy.call_async("hold")
    bench.entered.acquire()
    calls = [proxy.call_async("count", timeout=10) for _ in range(40)]
    done = [call.exception() for call in calls[32:]]
    assert all(isinstance(error, NotExecuted) and error.reason == "Busy" for error in done)
    bench.gate.set()
    assert held.result() == "held"
