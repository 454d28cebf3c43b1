"""When a call is sent again after its connection broke, and when never."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from played import Asked, Played
from proximity import AsyncProxy, CallError, NotExecuted, OutcomeUnknown, Proxy, Timeout

Calls = list[tuple[str, int, int]]


def plain(url: str, method: str, timeout: float) -> Any:
    with Proxy(url, "foo", timeout=timeout) as foo:
        return getattr(foo, method)()


def asynchronous(url: str, method: str, timeout: float) -> Any:
    async def call() -> Any:
        async with AsyncProxy(url, "foo", timeout=timeout) as foo:
            return await getattr(foo, method)()

    return asyncio.run(call())


def in_a_batch(url: str, method: str, timeout: float) -> Any:
    with Proxy(url, "foo", timeout=timeout) as foo:
        with foo.batch() as batch:
            future = getattr(batch, method)()
        return future.result()


@pytest.fixture(params=[plain, asynchronous, in_a_batch])
def ask(request: pytest.FixtureRequest) -> Callable[[str, str, float], Any]:
    return request.param  # type: ignore[no-any-return]


def lose(
    ask: Callable[[str, str, float], Any],
    method: str,
    features: tuple[str, ...],
    epoch: int,
    answer: Callable[[Asked], object],
) -> tuple[Any, Calls]:
    """Makes a call whose connection breaks before its answer; another agent takes over."""
    came = threading.Event()
    first = Played(lambda _: came.set(), features)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(ask, first.url, method, 20.0)
        assert came.wait(10)
        with Played(answer, features, epoch, first.stop()) as second:
            error = outcome.exception(20)
            return error or outcome.result(), first.calls + second.calls


def test_a_write_is_sent_again_to_the_run_that_keeps_its_replies(ask: Any) -> None:
    value, calls = lose(ask, "push", ("kept",), 1, lambda asked: asked.send(ok="first answer"))
    assert value == "first answer"
    assert len(calls) == 2
    assert calls[0] == calls[1], "the same call of the same run"


def test_a_write_is_never_sent_to_another_run(ask: Any) -> None:
    error, calls = lose(ask, "push", ("kept",), 2, lambda asked: asked.send(ok=None))
    assert isinstance(error, OutcomeUnknown)
    assert not isinstance(error, Timeout)
    assert "was restarted before its answer" in str(error)
    assert "look at the device" in (error.hint or "")
    assert len(calls) == 1


def test_a_write_is_never_sent_again_to_an_agent_that_keeps_nothing(ask: Any) -> None:
    error, calls = lose(ask, "push", (), 1, lambda asked: asked.send(ok=None))
    assert isinstance(error, OutcomeUnknown)
    assert len(calls) == 1


@pytest.mark.parametrize("epoch", [1, 2])
def test_what_only_reads_is_sent_again_to_any_run(ask: Any, epoch: int) -> None:
    value, calls = lose(ask, "look", (), epoch, lambda asked: asked.send(ok="seen"))
    assert value == "seen"
    assert [call[1] for call in calls] == [calls[0][1]] * 2, "under the same number"
    assert [call[2] for call in calls] == [1, epoch]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Expired", OutcomeUnknown),
        ("TooOld", OutcomeUnknown),
        ("ExpiresTooFar", OutcomeUnknown),
        ("TooManyClients", OutcomeUnknown),
        ("SomethingNew", OutcomeUnknown),
        ("Busy", NotExecuted),
        ("Locked", NotExecuted),
        ("Draining", NotExecuted),
    ],
)
def test_a_refusal_of_the_second_copy_counts_where_it_holds_for_the_first(
    reason: str, kind: type[CallError]
) -> None:
    error, calls = lose(plain, "push", ("kept",), 1, lambda asked: asked.refuse(reason))
    assert isinstance(error, kind)
    assert error.reason == reason
    assert len(calls) == 2


@pytest.mark.parametrize("reason", ["Expired", "ExpiresTooFar"])
def test_a_call_that_is_wrong_on_the_agents_clock_only_is_made_once_more(
    ask: Any, reason: str
) -> None:
    asked_before: list[Asked] = []

    def answer(asked: Asked) -> None:
        asked.send(ok="in time") if asked_before else asked.refuse(reason)
        asked_before.append(asked)

    with Played(answer) as agent:
        assert ask(agent.url, "push", 20.0) == "in time"
        assert len(agent.calls) == 2


def test_without_another_connection_the_outcome_is_unknown_at_the_deadline(ask: Any) -> None:
    came = threading.Event()
    agent = Played(lambda _: came.set(), ("kept",))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        outcome = pool.submit(ask, agent.url, "push", 1.0)
        assert came.wait(10)
        agent.stop()
        error = outcome.exception(20)
    assert 0.9 < time.monotonic() - began < 4
    assert isinstance(error, OutcomeUnknown)
    assert isinstance(error, Timeout)
    assert "there was no other within 1 s" in str(error)


def test_an_agent_at_odds_with_itself_is_given_up(ask: Any) -> None:
    with Played(lambda asked: asked.refuse("StaleEpoch")) as agent:
        with pytest.raises(NotExecuted) as caught:
            ask(agent.url, "push", 20.0)
        assert caught.value.reason == "StaleEpoch"
        assert len(agent.calls) == 6
