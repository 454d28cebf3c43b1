"""Replies that are none, and those of somebody else."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from played import CHUNK, Asked, Played
from proximity import AsyncProxy, Locked, NotSent, OutcomeUnknown, Proxy, Timeout

NO_ANSWERS: dict[str, Any] = {
    "a number": 5,
    "a list": ["ok"],
    "no envelope": {"ok": 5},
    "another version": {"v": 3, "ok": 5},
}
NO_ERRORS: dict[str, Any] = {
    "nothing": {},
    "text": "boom",
    "no message": {"class": "KeyError"},
    "a message that is no text": {"class": "KeyError", "message": 5},
    "a class that is no text": {"class": 5, "message": "m"},
    "a reason that is no text": {"class": "X", "message": "m", "reason": ["Busy"]},
    "a hint that is no text": {"class": "X", "message": "m", "hint": 5},
}


def say(asked: Asked, message: Any) -> None:
    packed: Any = msgpack.packb(message)
    asked.agent.socket.send_multipart([*asked.envelope, packed])


def pushed(answer: Callable[[Asked], object], timeout: float = 20.0) -> Any:
    """Makes one call that is so answered; what is made after it works."""

    def answers(asked: Asked) -> None:
        if asked.proc == "push":
            answer(asked)
        else:
            asked.send(ok="seen")

    with Played(answers, ("chunks",)) as agent, Proxy(agent.url, "foo", timeout=20) as foo:
        try:
            return foo.push(timeout=timeout)
        finally:
            assert foo.look() == "seen"


@pytest.mark.parametrize("message", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_message_leaves_the_outcome_unknown(message: Any) -> None:
    with pytest.raises(
        OutcomeUnknown, match=r"^foo\.push: the reply of .* cannot be read"
    ) as caught:
        pushed(lambda asked: say(asked, message))
    assert not isinstance(caught.value, Timeout)


@pytest.mark.parametrize("error", NO_ERRORS.values(), ids=NO_ERRORS.keys())
def test_an_error_that_is_none_leaves_the_outcome_unknown(error: Any) -> None:
    with pytest.raises(OutcomeUnknown, match=r"^foo\.push: the reply of .* cannot be read"):
        pushed(lambda asked: asked.send(error=error))


def test_an_error_whose_detail_is_odd_is_that_error_still() -> None:
    odd = {"class": "X", "message": "m", "executed": "no", "detail": 5, "reason": "Locked"}
    with pytest.raises(Locked) as caught:
        pushed(lambda asked: asked.send(error={**odd, "holder": 5, "expires_in": "soon"}))
    assert (caught.value.detail, caught.value.expires_in) == ([], 0.0)


def test_the_answer_to_another_client_is_nobodys() -> None:
    def answer(asked: Asked) -> None:
        say(asked, {"v": 2, "id": [b"z" * 16, asked.number], "ok": "another's"})
        say(asked, {"v": 2, "id": [b"z" * 16, asked.number], "chunk": [0, 1], "data": b"\x05"})
        say(asked, {"v": 2, "id": 5, "ok": "whose"})
        say(asked, {"v": 2, "id": None, "ok": "nobody's"})
        asked.send(ok="mine")

    assert pushed(answer) == "mine"


def test_an_error_without_an_id_is_the_answer_to_what_could_not_be_read() -> None:
    error = {"class": "ValueError", "message": "no id in it", "executed": "no"}
    with pytest.raises(ValueError, match="no id in it"):
        pushed(lambda asked: say(asked, {"v": 2, "id": None, "error": error}))


def test_a_result_of_another_count_of_chunks_is_not_taken() -> None:
    packed: Any = msgpack.packb(bytes(CHUNK + 1))
    pieces = [packed[:CHUNK], packed[CHUNK:]]

    def answer(asked: Asked) -> None:
        for index, piece in enumerate(pieces):
            asked.send(chunk=[index, 5], data=piece)
        asked.send(ok=None, chunks=[len(pieces), len(packed)])

    with pytest.raises(OutcomeUnknown):
        pushed(answer, 0.3)


class Strange(Played):
    """Answers hello, or describe, with what is no answer."""

    op, value = "", None

    def run(self) -> None:
        while not self._done.is_set():
            if not self.socket.poll(10):
                continue
            *envelope, data = self.socket.recv_multipart()
            asked = Asked(self, envelope, msgpack.unpackb(data))
            if asked.op == self.op:
                asked.send(ok=self.value)
            elif asked.op == "hello":
                asked.send(ok={"epoch": 1, "now": 1000, "objects": {"foo": 1}})
        self._context.destroy(0)


@pytest.mark.parametrize("value", [None, 5, [], {}, {"epoch": 1, "now": "x", "objects": {}}])
def test_a_hello_that_is_none_is_told_so_at_once(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Strange, "op", "hello")
    monkeypatch.setattr(Strange, "value", value)
    with Strange(lambda asked: None) as agent, Proxy(agent.url, "foo", timeout=20) as foo:
        began = time.monotonic()
        with pytest.raises(NotSent, match="answered hello with what cannot be read") as caught:
            foo.look()
        assert time.monotonic() - began < 5
        assert not isinstance(caught.value, Timeout)


@pytest.mark.parametrize("value", [None, 5, "no JSON", "[]", '{"methods": [{}]}'])
def test_an_interface_that_is_none_is_told_so(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Strange, "op", "describe")
    monkeypatch.setattr(Strange, "value", value)
    told = pytest.raises(OutcomeUnknown, match=r"^describe\(foo\): the reply of .* cannot be read")
    with Strange(lambda asked: None) as agent:
        with Proxy(agent.url, "foo", timeout=20) as foo, told:
            foo.look()
        with told:
            asyncio.run(AsyncProxy(agent.url, "foo", timeout=20).connect())


def test_proxies_may_be_made_while_others_learn_of_the_agents_objects() -> None:
    def make() -> None:
        made.extend(foo.with_timeout(1) for _ in range(20_000))

    made: list[Proxy] = []
    usual = sys.getswitchinterval()
    with Played(lambda asked: asked.send(ok="seen")) as agent, Proxy(agent.url, "foo") as foo:
        sys.setswitchinterval(1e-6)
        try:
            making = threading.Thread(target=make)
            making.start()
            while making.is_alive():
                foo._link.greet(20)
            making.join()
        finally:
            sys.setswitchinterval(usual)
    assert len(made) == 20_000
