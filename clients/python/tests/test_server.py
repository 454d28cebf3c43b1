"""Python objects on the wire."""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

import msgpack
import pytest
import zmq

from conftest import LOOPBACK, Raw, until
from objects import Bench, Foo
from proximity import Agent, Proxy, Server, effect


def test_public_methods_are_exposed_and_nothing_else(server: Server, agent: Agent) -> None:
    described = agent.describe("bench")
    names = [method["name"] for method in described["methods"]]
    assert "add" in names
    assert "wait_for" in names
    assert not [name for name in names if name.startswith("_")]
    assert "gain" not in names, "an attribute is no method"
    attributes = {item["name"]: item["settable"] for item in described["attributes"]}
    assert attributes == {
        "broken": False,
        "calls": True,
        "entered": True,
        "fixed": False,
        "gain": True,
        "gate": True,
        "level": True,
        "model": True,
    }
    server.expose("plain", Bench())
    assert agent.describe("plain")["attributes"] == []
    with pytest.raises(AttributeError):
        _ = agent.plain.gain


def test_include_and_exclude_are_for_whole_names() -> None:
    server = Server(LOOPBACK)
    server.expose("some", Bench(), attributes=True, include="add|gain|re.*|level", exclude="level")
    server.expose("less", Bench(), exclude="re|a..")
    with server, Agent(server.url) as agent:
        assert dir(agent.some) == ["add", "gain", "read"]
        with pytest.raises(AttributeError):
            agent.some.echo(1)
        assert "read" in dir(agent.less)
        assert "add" not in dir(agent.less)
        # Hidden is unknown, also for one who does not ask what there is.
        with Raw(server.url) as raw:
            for name in ("echo", "level", "_divide", "__class__"):
                request = {"name": "some", "proc": name, "args": [1], "kwargs": {}}
                reply = msgpack.unpackb(raw.ask(msgpack.packb(request)))
                assert reply["EXCEPTION"][:2] == ["KeyError", repr(name)]


def test_properties_are_not_run_when_an_object_is_exposed() -> None:
    class Shy:
        ran = 0

        @property
        def level(self) -> int:
            Shy.ran += 1
            return 1

        @functools.cached_property
        def once(self) -> int:
            Shy.ran += 1
            return 2

    server = Server(LOOPBACK)
    server.expose("shy", Shy(), attributes=True)
    assert Shy.ran == 0
    with server, Proxy(server.url, "shy") as shy:
        assert (shy.level, shy.once) == (1, 2)
    assert Shy.ran == 2


def test_all_kinds_of_methods_are_described() -> None:
    class Kinds:
        """Has them all."""

        Error = KeyError

        def __init__(self) -> None:
            self.attached = len

        def plain(self, a: int, b: str | None = None) -> list[int]:
            """Plain."""

        @staticmethod
        def static(a: float = 1.5) -> None:
            """Static."""

        @classmethod
        def of_class(cls, a: bytes = b"\0") -> bytes:
            """Of the class."""
            return a

        twice = functools.partialmethod(plain, 2)

        @effect("read")
        def reads(self, odd: object = object()) -> None:
            """Reads.

            odd: has a default that the wire has no form for

            raises KeyError: when it likes
            """

        def keyword_only(self, *, a: int) -> int:
            return a

    server = Server(LOOPBACK)
    server.expose("kinds", Kinds())
    with server, Agent(server.url) as agent:
        described = agent.describe("kinds")
        assert described["doc"] == "Has them all."
        methods = {method["name"]: method for method in described["methods"]}
        assert set(methods) == {
            "attached", "plain", "static", "of_class", "twice", "reads", "keyword_only",
        }  # fmt: skip
        assert methods["plain"]["params"] == [
            {"name": "a", "type": "int", "kind": "positional", "doc": ""},
            {"name": "b", "type": "str|None", "kind": "positional", "doc": "", "default": None},
        ]
        assert methods["plain"]["returns"] == "list[int]"
        assert methods["static"]["params"][0]["default"] == 1.5
        assert methods["static"]["returns"] == "None"
        assert methods["of_class"]["params"][0]["default"] == b"\0"
        assert methods["reads"]["effect"] == "read"
        assert methods["reads"]["params"][0]["default"] is None
        assert methods["reads"]["errors"] == [{"class": "KeyError", "when": "when it likes"}]
        assert agent.kinds.of_class() == b"\0"
        assert agent.kinds.attached("four") == 4
        assert agent.kinds.keyword_only(a=3) == 3
    with pytest.raises(ValueError, match="effect is 'maybe'; it must be read, write or admin"):
        effect("maybe")


def test_a_module_may_be_an_object() -> None:
    import math

    server = Server(LOOPBACK)
    server.expose("math", math, attributes=True)
    with server, Agent(server.url) as agent:
        assert agent.math.sqrt(9.0) == 3.0
        assert agent.math.pi == math.pi
        with pytest.raises(ValueError, match=r"math domain error|nonnegative"):
            agent.math.sqrt(-1)
        with pytest.raises(TypeError):
            agent.math.sqrt()


def test_an_async_method_runs_to_its_end(proxy: Proxy) -> None:
    assert proxy.soon(7) == 7


def test_a_name_may_be_exposed_once(server: Server) -> None:
    with pytest.raises(ValueError, match="there is an object 'bench' already"):
        server.expose("bench", Bench())


@pytest.mark.parametrize(
    ("name", "error"), [(5, TypeError), ("", ValueError), ("x" * 257, ValueError)]
)
def test_a_name_that_no_client_could_read_is_refused(
    server: Server, proxy: Proxy, name: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="an object's name"):
        server.expose(name, Bench())
    assert proxy.add(1) == 3, "others are served as before"


def test_one_object_delays_no_other_and_nobody_who_asks_what_there_is(
    server: Server, proxy: Proxy, bench: Bench
) -> None:
    server.expose("other", Foo())
    held = proxy.call_async("hold")
    bench.entered.acquire()
    with Raw(server.url) as raw, Agent(server.url) as agent:
        began = time.monotonic()
        request = {"name": "bench", "proc": "list_methods", "args": [], "kwargs": {}}
        assert ["echo", "usage: echo(v)\n"] in msgpack.unpackb(raw.ask(msgpack.packb(request)))
        assert agent.describe("bench")["name"] == "bench"
        assert sorted(agent.hello()["objects"]) == ["bench", "other"]
        assert agent.other.sub_two(5, 3) == 2
        assert time.monotonic() - began < 1
    assert not held.done()
    bench.gate.set()
    assert held.result() == "held"


def test_calls_to_one_object_never_overlap(server: Server, proxy: Proxy) -> None:
    class Careful:
        inside = 0
        most = 0

        def enter(self) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.001)
            self.inside -= 1

    careful = Careful()
    server.expose("careful", careful)
    other = Proxy(proxy._link, "careful")
    for call in [other.call_async("enter") for _ in range(30)]:
        call.result()
    assert careful.most == 1


def test_list_methods_comes_within_a_tenth_of_a_second_of_connecting(server: Server) -> None:
    """The original client's constructor waits no longer."""
    times = []
    for _ in range(10):
        began = time.monotonic()
        with Raw(server.url) as raw:
            request = {"name": "bench", "proc": "list_methods", "args": [], "kwargs": {}}
            raw.ask(msgpack.packb(request))
        times.append(time.monotonic() - began)
    assert sorted(times)[len(times) // 2] < 0.1, times


@pytest.mark.parametrize("state", ["waits", "runs", "is over"])
def test_cancel_says_what_became_of_the_call(server: Server, bench: Bench, state: str) -> None:
    client, epoch = bytes(16), server.epoch

    def request(op: str, number: int, proc: str = "", args: Any = ()) -> bytes:
        told = {"v": 2, "id": [client, number], "op": op, "epoch": epoch, "name": "bench"}
        return msgpack.packb({**told, "proc": proc, "args": args, "kwargs": {}})

    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(server.url)

    def receive() -> dict[str, Any]:
        reply: dict[str, Any] = msgpack.unpackb(socket.recv_multipart()[-1])
        return reply

    if state == "is over":
        socket.send_multipart([b"", request("call", 1, "count")])
        assert receive()["ok"] == 1
        socket.send_multipart([b"", request("cancel", 2, args=[[client, 1]])])
        assert receive()["ok"] == "unknown"
    else:
        socket.send_multipart([b"", request("call", 1, "hold")])
        bench.entered.acquire()
        if state == "runs":
            socket.send_multipart([b"", request("cancel", 2, args=[[client, 1]])])
            assert receive()["ok"] == "running"
        else:
            socket.send_multipart([b"", request("call", 2, "count")])
            socket.send_multipart([b"", request("cancel", 3, args=[[client, 2]])])
            replies = {reply["id"][1]: reply for reply in (receive(), receive())}
            assert replies[3]["ok"] == "queued"
            assert replies[2]["error"]["reason"] == "Cancelled"
            assert replies[2]["error"]["executed"] == "no"
        bench.gate.set()
        assert receive()["ok"] == "held"
    socket.send_multipart([b"", request("cancel", 9, args=[5])])
    assert receive()["error"]["class"] == "TypeError"
    socket.close()


@pytest.mark.parametrize(
    ("change", "kind", "reason"),
    [
        ({"epoch": 7}, "RuntimeError", "StaleEpoch"),
        ({"expires": 1}, "TimeoutError", "Expired"),
        ({"v": 3}, "ValueError", None),
        ({"op": "lock"}, "ValueError", None),
        ({"id": [b"short", 1]}, "ValueError", None),
        ({"epoch": "x"}, "TypeError", None),
        ({"proc": "nothing"}, "AttributeError", None),
        ({"name": "nobody"}, "KeyError", None),
        ({"args": [{1: 2}]}, "TypeError", None),
        ({"args": [msgpack.ExtType(3, b"")]}, "ValueError", None),
    ],
)
def test_a_version_2_request_that_is_refused(
    server: Server, bench: Bench, change: dict[str, Any], kind: str, reason: str | None
) -> None:
    identity = [bytes(16), 5]
    request = {"v": 2, "id": identity, "op": "call", "epoch": server.epoch}
    request.update({"name": "bench", "proc": "count", "args": [], "kwargs": {}, **change})
    with Raw(server.url) as raw:
        reply = msgpack.unpackb(raw.ask(msgpack.packb(request)))
    assert reply["id"] == (None if "id" in change else identity)
    assert reply["v"] == 2
    assert reply["epoch"] == server.epoch
    error = reply["error"]
    assert (error["class"], error["executed"], error["reason"]) == (kind, "no", reason)
    assert bench.calls == 0


def test_a_client_that_reads_nothing_delays_nobody(
    server: Server, proxy: Proxy, bench: Bench
) -> None:
    greedy = zmq.Context.instance().socket(zmq.DEALER)
    greedy.setsockopt(zmq.LINGER, 0)
    greedy.setsockopt(zmq.RCVHWM, 1)
    greedy.connect(server.url)
    request = {"name": "bench", "proc": "blob", "args": [1 << 20], "kwargs": {}}
    for _ in range(30):
        greedy.send_multipart([b"", msgpack.packb(request)])
    until(lambda: bench.calls == 30, "the greedy one's calls were run")
    began = time.monotonic()
    assert proxy.add(1) == 3
    assert time.monotonic() - began < 1
    greedy.close()


def test_replies_to_a_client_that_left_are_counted(server: Server, bench: Bench) -> None:
    proxy = Proxy(server.url, "bench")
    request = {"name": "bench", "proc": "hold", "args": [], "kwargs": {}}
    pause = 0.001
    while not server.undeliverable:
        bench.gate.clear()
        with Raw(server.url) as raw:
            raw.socket.send(msgpack.packb(request))
            bench.entered.acquire()
        # libzmq notices in its own time that it has left.
        assert pause < 5
        time.sleep(pause)
        pause *= 2
        bench.gate.set()
        proxy.add(1)  # comes after it
    proxy.close()


def test_run_serves_in_the_callers_thread_until_stopped() -> None:
    server = Server(LOOPBACK)
    server.expose("foo", Foo())
    watched: list[float] = []
    thread = threading.Thread(
        target=server.run, kwargs={"watchdog": lambda: watched.append(1), "interval": 0.01}
    )
    thread.start()
    with Proxy(server.url, "foo") as foo:
        assert foo.sub_two(5, 3) == 2
        until(lambda: len(watched) > 3, "the watchdog is called")
    server.stop()
    thread.join(5)
    assert not thread.is_alive()
    server.stop()


def test_a_server_that_never_ran_closes_too() -> None:
    server = Server(LOOPBACK)
    url = server.url
    server.stop()
    again = until(lambda: listen(url), "the address is free again")
    again.stop()


def listen(url: str) -> Server | None:
    try:
        return Server(url)
    except zmq.ZMQError:  # libzmq closes sockets in a thread of its own
        return None


def test_an_address_in_use_is_said() -> None:
    with Server(LOOPBACK) as server, pytest.raises(zmq.ZMQError, match="in use"):
        Server(server.url)


def test_an_object_may_stop_its_server() -> None:
    class Off:
        def off(self) -> str:
            server.stop()
            return "off"

    server = Server(LOOPBACK)
    server.expose("off", Off())
    server.start()
    with Proxy(server.url, "off") as off:
        assert off.off() == "off"
    assert server._thread is not None
    server._thread.join(5)
    assert not server._thread.is_alive()
