"""Leases, against a real agent."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import binary, until
from played import Asked, Played
from proximity import Agent, AsyncProxy, LeaseLost, Locked, NotExecuted, Proxy
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


def test_the_end_of_a_block_waits_for_no_agent() -> None:
    with Played(lambda asked: asked.send(ok={"expires": 1, "ttl": 1})) as agent:
        proxy = Proxy(agent.url, "foo")
        with proxy.lock():
            agent.stop()
            began = time.monotonic()
        assert time.monotonic() - began < 3
        proxy.close()
