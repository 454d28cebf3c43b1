"""Leases, against a real agent."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import binary, until
from played import Asked, Played
from proximity import Agent, AsyncProxy, LeaseLost, Locked, NotExecuted, Proxy, _codec
from proximity._session import Target


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    config = tmp_path / "agent.toml"
    config.write_text('listen = ["tcp://127.0.0.1:0"]\n[objects.counter]\ndriver = "counter"\n')
    command = [str(binary("PROXIMITY_AGENT_BIN", "proximity-agent")), "serve", "-c", str(config)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("listening "), line
    yield line.split()[1]
    process.terminate()
    process.communicate(timeout=20)


def test_the_holder_writes_and_nobody_else(url: str) -> None:
    with Agent(url) as agent, Agent(url) as others:
        counter, theirs = agent.counter, others.counter
        assert agent.leases() == []
        with counter.lock(ttl=60, holder="ana@laptop") as lease:
            assert (lease.ttl, lease.taken_from, lease.is_lost) == (60.0, None, False)
            assert counter.add(1) == 1
            counter.value = 5
            assert counter.call_async("add", 1).result() == 6
            with counter.batch() as batch:
                future = batch.add(1)
            assert future.result() == 7
            assert counter.with_timeout(5).add(1) == 8
            assert theirs.value == 8, "reads are free"
            for write in (lambda: theirs.add(1), lambda: theirs.lock(), lambda: set_to(theirs, 1)):
                with pytest.raises(Locked) as caught:
                    write()
                error = caught.value
                assert isinstance(error, NotExecuted)
                assert error.holder.startswith("ana@laptop")
                assert 0 < error.expires_in <= 60
                again = pickle.loads(pickle.dumps(error))
                assert (type(again), again.holder) == (Locked, error.holder)
            (listed,) = agent.leases()
            assert (listed.object, listed.holder) == ("counter", "ana@laptop")
            assert 0 < listed.expires_in <= 60
        assert agent.leases() == []
        assert theirs.add(1) == 9
        assert "released" in repr(lease)


def set_to(proxy: Any, value: int) -> None:
    proxy.value = value


def test_a_lease_that_is_stolen_is_lost(url: str) -> None:
    with Proxy(url, "counter") as mine, Proxy(url, "counter") as theirs:
        lease = mine.lock(ttl=1, holder="ana@laptop")
        with theirs.steal_lock() as stolen:
            assert (stolen.taken_from or "").startswith("ana@laptop")
            with pytest.raises((LeaseLost, Locked)):
                mine.add(1)
            until(lambda: lease.is_lost, "the thread that renews it hears so")
            assert theirs.add(1) == 1
            with pytest.raises((LeaseLost, Locked)):
                lease.release()
        lease.release()  # once is enough
        assert mine.add(1) == 2, "as anybody now"


def test_a_lease_is_held_longer_than_its_time(url: str, monkeypatch: Any) -> None:
    with Agent(url) as agent, Proxy(url, "counter") as theirs:
        renewed = threading.Semaphore(0)
        link = agent._link
        call = link.call

        def watched(target: Target, *rest: Any) -> Any:
            value = call(target, *rest)
            if target.op == "renew":
                renewed.release()
            return value

        monkeypatch.setattr(link, "call", watched)
        with agent.counter.lock(ttl=1):
            for _ in range(5):  # each after a third of its time
                assert renewed.acquire(timeout=20)
                with pytest.raises(Locked):
                    theirs.add(1)
            assert agent.counter.add(1) == 1
        assert not any(t.name == "proximity lease" and t.is_alive() for t in threads_left())


def threads_left() -> list[threading.Thread]:
    until(lambda: not any(t.name == "proximity lease" for t in threading.enumerate()), "it ends")
    return threading.enumerate()


def test_the_same_for_asyncio(url: str) -> None:
    async def use() -> None:
        async with AsyncProxy(url, "counter") as counter, AsyncProxy(url, "counter") as theirs:
            async with counter.lock(ttl=1, holder="ana@laptop") as lease:
                await asyncio.sleep(1.5)
                assert await counter.add(1) == 1
                await counter.set("value", 3)
                with pytest.raises(Locked):
                    await theirs.add(1)
                with pytest.raises(Locked):
                    await theirs.lock()
                assert not lease.is_lost
            assert await theirs.add(1) == 4
            held = await counter.lock()
            stolen = await theirs.steal_lock()
            assert stolen.taken_from
            with pytest.raises((LeaseLost, Locked)):
                await counter.add(1)
            await stolen.release()
            with pytest.raises(LeaseLost):
                await held.release()

    asyncio.run(use())


def test_a_lease_that_is_not_waited_for_any_more_is_given_back(url: str) -> None:
    """It may have been given as its asking was cancelled; nobody would end it before its time."""

    async def use() -> None:
        async with AsyncProxy(url, "counter") as mine, AsyncProxy(url, "counter") as theirs:
            for turns in range(40):
                asking = asyncio.ensure_future(mine.lock(ttl=300).__aenter__())
                for _ in range(turns % 8):
                    await asyncio.sleep(0)
                if turns >= 8:
                    await asyncio.sleep(turns * 0.0001)
                if not asking.cancel() and not asking.cancelled():
                    await (await asking).release()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                # Over another connection, so it may be there before.
                end = time.monotonic() + 5
                while True:
                    try:
                        await theirs.add(1)
                        break
                    except Locked:
                        assert time.monotonic() < end, f"after {turns} turns"
                        await asyncio.sleep(0.001)

    asyncio.run(use())


def test_a_renewal_that_is_not_answered_is_soon_tried_again() -> None:
    ttl = 3.0
    asked_for: list[str] = []

    def answer(asked: Asked) -> None:
        asked_for.append(asked.op)
        if asked_for.count("renew") != 1:
            asked.send(ok={})

    async def use(url: str) -> float:
        async with AsyncProxy(url, "foo") as foo:
            began = time.monotonic()
            async with foo.lock(ttl=ttl) as lease:
                while asked_for.count("renew") < 2:
                    await asyncio.sleep(0.01)
                took = time.monotonic() - began
                assert not lease.is_lost
        return took

    with Played(answer) as agent:
        took = asyncio.run(asyncio.wait_for(use(agent.url), 20))
    # The first is given up at two thirds of it. Another third later would be too late.
    assert took < ttl * 0.9
    assert asked_for == ["lock", "renew", "renew", "release"]


def test_a_time_out_of_range_is_said() -> None:
    proxy = Proxy("tcp://127.0.0.1:1", "counter")
    with pytest.raises(ValueError, match="ttl is 0; it must be 1 to 300 seconds"):
        proxy.lock(ttl=0)


class Kept:
    """An agent's part in leases: `lock` is answered, `renew` as told, and what comes is noted."""

    def __init__(self, renew: Callable[[Asked], object]) -> None:
        self.renew = renew
        self.renewals = self.releases = 0

    def __call__(self, asked: Asked) -> None:
        self.renewals += asked.op == "renew"
        self.releases += asked.op == "release"
        if asked.op == "renew":
            self.renew(asked)
        else:
            asked.send(ok={"expires": 1, "ttl": 1})


def grant(asked: Asked) -> None:
    asked.send(ok={"expires": 1, "ttl": 1})


async def held(url: str, ttl: float, over: Callable[[], object]) -> bool:
    """Holds a lease until `over`; whether it is lost then."""
    async with AsyncProxy(url, "foo") as foo, foo.lock(ttl=ttl) as lease:
        end = time.monotonic() + 20
        while not (lease.is_lost or over()):
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        return lease.is_lost


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_renewal_that_failed_is_tried_again_as_long_as_the_lease_may_stand(
    asynchronous: bool,
) -> None:
    """The first is not answered: the next at a third of the time behind that would be too late."""
    ttl, failed = 3.0, []
    came: list[float] = []

    def once(asked: Asked) -> None:
        came.append(time.monotonic())
        if failed:
            grant(asked)
        failed.append(asked)

    kept = Kept(once)
    with Played(kept) as agent:
        began = time.monotonic()
        if asynchronous:
            assert not asyncio.run(held(agent.url, ttl, lambda: len(came) > 1))
        else:
            with Proxy(agent.url, "foo") as foo, foo.lock(ttl=ttl) as lease:
                until(lambda: len(came) > 1 or lease.is_lost, "it is renewed")
                assert not lease.is_lost
        assert came[1] - began < ttl - 0.3


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("gone", [True, False])
def test_a_lease_that_nobody_renews_any_more_is_told_as_lost(
    asynchronous: bool, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its object is gone, or the user's own code for values fails."""

    def renew(asked: Asked) -> None:
        if gone:
            asked.send(error={"class": "KeyError", "message": "no foo", "executed": "no"})
        else:
            asked.send(ok={"its": "own"})

    def decode(value: list[Any]) -> list[Any]:
        if "its" in value[1]:
            raise ArithmeticError("the decoder's")
        return value

    monkeypatch.setattr(_codec, "_decoders", [decode])
    with Played(Kept(renew)) as agent:
        if asynchronous:
            assert asyncio.run(held(agent.url, 1, lambda: False))
        else:
            with Proxy(agent.url, "foo") as foo, foo.lock(ttl=1) as lease:
                until(lambda: lease.is_lost, "it is told")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_end_of_a_lease_whose_object_is_gone_hides_no_error_of_the_block(
    asynchronous: bool,
) -> None:
    def answer(asked: Asked) -> None:
        if asked.op == "release":
            asked.send(error={"class": "KeyError", "message": "no foo", "executed": "no"})
        else:
            grant(asked)

    async def fail() -> None:
        async with AsyncProxy(agent.url, "foo") as foo, foo.lock():
            raise LookupError("the block's own")

    with Played(answer) as agent, Proxy(agent.url, "foo") as foo:
        with pytest.raises(LookupError, match="the block's own"):
            if asynchronous:
                asyncio.run(fail())
            else:
                with foo.lock():
                    raise LookupError("the block's own")
        with foo.lock():
            pass


FORKED = """
import asyncio, os, sys
from proximity import AsyncProxy, Proxy

def fork():
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
    return child

async def beside():
    async with AsyncProxy(sys.argv[1], "foo") as foo:
        lease = await foo.lock()
        child = fork()
        if child:
            print("held", flush=True)
            sys.stdin.readline()
        await lease.release()
        if not child:
            os._exit(0)

with Proxy(sys.argv[1], "foo") as foo:
    with foo.lock() as lease:
        child = fork()
        if child:
            print("held", flush=True)
            sys.stdin.readline()
    if not child:
        os._exit(0)
asyncio.run(beside())
"""


def test_a_forked_child_that_leaves_the_block_leaves_the_lease_to_its_parent(
    tmp_path: Path,
) -> None:
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    kept = Kept(grant)
    with Played(kept) as agent:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), agent.url]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdin is not None
        assert process.stdout is not None
        for released in (0, 1):
            assert process.stdout.readline() == "held\n"
            assert kept.releases == released
            process.stdin.write("\n")
        process.communicate(timeout=20)
        assert process.returncode == 0
        assert kept.releases == 2


def test_the_end_of_a_block_waits_for_no_agent() -> None:
    with Played(lambda asked: asked.send(ok={"expires": 1, "ttl": 1})) as agent:
        proxy = Proxy(agent.url, "foo")
        with proxy.lock():
            agent.stop()
            began = time.monotonic()
        assert time.monotonic() - began < 3
        proxy.close()
