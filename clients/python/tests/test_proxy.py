"""An object of an agent, as if it were local."""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import pickle
import threading
import time
from typing import Any

import pytest
import zmq

from conftest import LOOPBACK, Process, free_url, is_sent, until
from objects import Bench, Foo
from proximity import (
    Agent,
    AsyncProxy,
    CallError,
    NotExecuted,
    NotSent,
    OutcomeUnknown,
    ProximityError,
    Proxy,
    RemoteError,
    Server,
    Timeout,
    Unreachable,
)
from proximity._link import Link
from proximity._session import Target
from proximity.aio import AsyncLink, _async_links


def test_methods_have_the_objects_signatures_and_documentation(proxy: Proxy) -> None:
    add = proxy.add
    assert str(inspect.signature(add)) == "(x: int, y: int = 2) -> int"
    assert add.__name__ == "add"
    assert add.__qualname__ == "bench.add"
    assert add.__doc__.startswith("usage: add(x, y)\nAdds.\n\nx: the one\n")
    assert str(inspect.signature(proxy.keywords)) == "(a, *rest, b=1, **more)"
    assert proxy.echo.__doc__ == "usage: echo(v)"
    assert (
        str(inspect.signature(proxy.read))
        == "(device_name: str, size: int, offset: int = 0) -> bytes"
    )


def test_calls_give_values(proxy: Proxy) -> None:
    assert proxy.add(2, 3) == 5
    assert proxy.add(2) == 4
    assert proxy.add(y=3, x=4) == 7
    assert proxy.keywords(1, 2, 3, b=4, c=5) == [1, [2, 3], 4, {"c": 5}]
    assert proxy.echo(None) is None
    assert proxy.blob(3 << 20).__len__() == 3 << 20


def test_attributes_are_read_and_set(proxy: Proxy, bench: Bench) -> None:
    assert (proxy.gain, proxy.level, proxy.model, proxy.fixed) == (3, 1.5, "b-1", 7)
    proxy.gain = 9
    assert (proxy.gain, bench.gain) == (9, 9)
    proxy.level = 2.5
    assert bench.gain == 2.5
    with pytest.raises(ValueError, match="level is 6; it must be at most 5"):
        proxy.level = 6
    with pytest.raises(AttributeError, match="attribute 'fixed' can only be read") as caught:
        proxy.fixed = 1
    assert caught.value.executed == "no"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="the instrument is off"):
        _ = proxy.broken


def test_a_name_that_is_none_is_an_attribute_error(proxy: Proxy) -> None:
    with pytest.raises(AttributeError) as caught:
        proxy.ecko()
    assert str(caught.value) == "'bench' has no 'ecko'; did you mean 'echo'?"
    with pytest.raises(AttributeError, match="'bench' has no 'lvel'; did you mean 'level'"):
        proxy.lvel = 3
    with pytest.raises(AttributeError, match="_private"):
        proxy._private()
    with pytest.raises(AttributeError, match="keeps no attributes of its own"):
        proxy._mine = 3
    assert not hasattr(proxy, "zebra")


def test_names_that_tools_probe_for_cost_no_call(server: Server) -> None:
    proxy = Proxy(free_url(), "bench", timeout=30)
    began = time.monotonic()
    for name in ("_ipython_display_", "__wrapped__", "_repr_latex_", "__len__"):
        with pytest.raises(AttributeError):
            getattr(proxy, name)
    assert repr(proxy).endswith("not yet reached>")
    assert time.monotonic() - began < 1


def test_dir_shows_the_object_and_nothing_else(proxy: Proxy) -> None:
    assert dir(proxy) == sorted([name for name in dir(Bench()) if not name.startswith("_")])


def test_repr_tells_agent_object_and_state_without_a_call(server: Server) -> None:
    proxy = Proxy(server.url, "bench")
    assert repr(proxy) == f"<Proxy 'bench' at {server.url}: not yet reached>"
    proxy.add(1)
    assert repr(proxy) == f"<Proxy 'bench' at {server.url}: connected>"
    table = proxy._repr_html_()
    for told in (server.url, "bench", "connected", "add(x: int, y: int = 2) -&gt; int", "Adds."):
        assert told in table
    server.stop()
    with pytest.raises(CallError):
        proxy.add(1, timeout=0.2)
    assert repr(proxy) == f"<Proxy 'bench' at {server.url}: not reachable>"
    proxy.close()


def test_a_method_may_have_parameters_of_the_names_that_calls_take(proxy: Proxy) -> None:
    assert proxy.wait_for() == [5, "x"]
    assert proxy.wait_for(timeout=1, dtype="y") == [1, "y"]


def test_dtype_makes_an_array_of_bytes(proxy: Proxy) -> None:
    numpy = pytest.importorskip("numpy")
    words = proxy.read("any", 8, dtype=">u4")
    assert words.tolist() == [0x00010203, 0x04050607]
    assert words.dtype == numpy.dtype(">u4")
    with pytest.raises(TypeError, match="dtype= is for methods that return bytes, not int"):
        proxy.add(1, dtype="u1")


def test_text_and_bytes_go_where_a_method_wants_them(proxy: Proxy) -> None:
    assert proxy.text(b"abc") == "str abc"
    assert proxy.data("abc") == ["bytes", 3]
    numpy = pytest.importorskip("numpy")
    assert proxy.data(numpy.zeros(4, "u2")) == ["bytes", 8]


def test_dotted_objects_are_nested_proxies() -> None:
    server = Server(LOOPBACK)
    for name in ("animals.angry", "animals.calm.cow", "bench"):
        server.expose(name, Bench())
    server.expose("bench.sub", Foo())
    with server, Agent(server.url) as agent:
        assert agent.animals.angry.add(1) == 3
        assert agent.animals.calm.cow.add(1) == 3
        assert dir(agent.animals) == ["angry", "calm"]
        assert agent.bench.sub.sub_two(5, 3) == 2
        assert agent.bench.add(1) == 3
        assert Proxy(agent._link, "animals.calm.cow").add(4) == 6
        with pytest.raises(AttributeError):
            _ = agent.animals.sad


def test_an_unknown_object_is_a_key_error_that_tells_which_there_are(server: Server) -> None:
    with Proxy(server.url, "bnech") as proxy, pytest.raises(KeyError) as caught:
        proxy.add(1)
    assert str(caught.value) == (
        "no object 'bnech'; this agent has: bench\nhint: did you mean 'bench'?"
    )


# Agents.


def test_an_agent_lists_describes_and_hands_out(agent: Agent, server: Server) -> None:
    assert list(agent) == ["bench"]
    assert len(agent) == 1
    assert "bench" in agent
    assert "other" not in agent
    assert agent.bench.add(1) == 3
    assert agent["bench"] is agent.bench
    assert {"bench", "describe", "hello", "proxy"} <= set(dir(agent))
    assert agent._ipython_key_completions_() == ["bench"]
    described = agent.describe("bench")
    add = next(method for method in described["methods"] if method["name"] == "add")
    assert add == {
        "name": "add",
        "usage": "usage: add(x, y)",
        "doc": "Adds.\n\nx: the one\ny: the other\n\nraises OverflowError: never, in Python",
        "params": [
            {"name": "x", "type": "int", "kind": "positional", "doc": "the one"},
            {"name": "y", "type": "int", "kind": "positional", "doc": "the other", "default": 2},
        ],
        "returns": "int",
        "effect": "write",
        "errors": [{"class": "OverflowError", "when": "never, in Python"}],
    }
    level = next(item for item in described["attributes"] if item["name"] == "level")
    assert level == {
        "name": "level",
        "type": "float",
        "doc": "The level, in volts.",
        "settable": True,
    }
    assert described["hash"] == agent.hello()["objects"]["bench"]
    assert agent.hello()["agent"] == "python"
    assert repr(agent) == f"<Agent at {server.url}: connected>"
    assert "bench" in agent._repr_html_()
    with pytest.raises(AttributeError, match="has no object 'bnch'; did you mean 'bench'"):
        _ = agent.bnch


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ("colossus", "tcp://colossus:5555"),
        ("colossus:7", "tcp://colossus:7"),
        ("tcp://10.0.0.1:5555", "tcp://10.0.0.1:5555"),
        ("tcp://[::1]:5555", "tcp://[::1]:5555"),
        ("ipc:///run/agent.sock", "ipc:///run/agent.sock"),
    ],
)
def test_an_address_may_be_only_a_host(given: str, whole: str) -> None:
    assert Agent(given)._link.url == whole


@pytest.mark.parametrize(
    "given",
    ["tcp://host", "http://host:80", "tcp://host:port", "", "tcp://host:65536", "tcp://::1:5555"],
)
def test_what_is_no_address_is_said_at_once(given: str) -> None:
    with pytest.raises(ValueError, match="is no address; it must be like tcp://host:5555"):
        Proxy(given, "bench")


@pytest.mark.parametrize("kind", [Proxy, AsyncProxy])
def test_what_cannot_be_meant_is_said_in_words(kind: Any, proxy: Proxy) -> None:
    with pytest.raises(TypeError, match=r"an agent's address is text, like .*, not int"):
        kind(5555, "bench")
    with pytest.raises(TypeError, match="timeout is '5'; it must be a number of seconds"):
        kind("colossus", "bench", timeout="5")
    with pytest.raises(TypeError, match="an object's name is text, not int"):
        kind("colossus", 5)
    with pytest.raises(TypeError, match="timeout is '5'; it must be a number of seconds"):
        proxy.add(1, timeout="5")
    with pytest.raises(AttributeError, match="'add' of 'bench' is no attribute that can be set"):
        proxy.add = 5
    with pytest.raises(AttributeError, match="nothing of 'bench' can be deleted: 'add'"):
        del proxy.add
    assert proxy.add(1) == 3


def test_an_address_that_libzmq_refuses_is_said_and_leaves_nothing_open() -> None:
    url = "ipc:///" + 200 * "x"

    async def use() -> None:
        await AsyncProxy(url, "foo").f()

    def refused() -> int:
        for attempt in (lambda: Proxy(url, "foo").f(), lambda: asyncio.run(use())):
            with pytest.raises(ValueError, match=r"cannot connect to 'ipc:///x*': File name too"):
                attempt()
        return len(os.listdir("/proc/self/fd"))

    before = refused()
    for _ in range(20):
        refused()
    until(lambda: len(os.listdir("/proc/self/fd")) <= before + 2, "sockets are closed")


def test_ipc_works_as_tcp_does(tmp_path: Any) -> None:
    server = Server(f"ipc://{tmp_path}/agent.sock")
    server.expose("foo", Foo())
    with server, Proxy(server.url, "foo") as foo:
        assert foo.sub_two(5, 3) == 2


# Errors.


def test_a_builtin_error_is_that_builtin_and_shows_the_remote_traceback(proxy: Proxy) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        proxy.divide(2, 0)
    error: Any = caught.value
    assert isinstance(error, RemoteError)
    assert not isinstance(error, CallError)
    assert (error.class_name, error.message, error.executed) == (
        "ZeroDivisionError",
        "division by zero",
        "yes",
    )
    assert str(error) == "division by zero"
    lines = error.remote_traceback.splitlines()
    assert lines[0] == "Traceback on the other side (most recent call last):"
    assert "in divide" in lines[1]
    assert lines[2] == "    return self._divide(x, y)"
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert "server.py" not in error.remote_traceback, "only the object's own frames"
    assert error.remote_traceback in str(error.__cause__)
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ZeroDivisionError)
    assert str(again) == str(error)


def test_a_key_error_shows_its_message_as_it_is(proxy: Proxy) -> None:
    with pytest.raises(KeyError) as caught:
        proxy.fail("KeyError", "no register 'sys'")
    assert str(caught.value) == "\"no register 'sys'\""


def test_an_error_of_no_builtin_class_tells_its_class(proxy: Proxy) -> None:
    with pytest.raises(RemoteError) as caught:
        proxy.fail("Own", "the laser is off")
    assert str(caught.value) == "OwnError: the laser is off"
    with pytest.raises(RemoteError, match="UnprintableError whose text raises ValueError"):
        proxy.fail("Unprintable", "x")


def test_errors_that_python_gives_a_meaning_of_its_own_stay_harmless(proxy: Proxy) -> None:
    for name in ("StopIteration", "SystemExit"):
        with pytest.raises(RemoteError) as caught:
            proxy.fail(name, "x")
        assert not isinstance(caught.value, (StopIteration, SystemExit))
        assert caught.value.class_name == name
    with pytest.raises(ValueError, match="can't decode byte 0xff"):
        proxy.fail("UnicodeDecodeError", "x")
    assert proxy.add(1) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.add(), "add() missing a required argument: 'x'"),
        (lambda p: p.add(1, 2, 3), "add() too many positional arguments"),
        (lambda p: p.add(1, z=3), "add() got an unexpected keyword argument 'z'"),
    ],
)
def test_wrong_arguments_did_not_run(proxy: Proxy, call: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call(proxy)
    assert str(caught.value) == message
    assert (caught.value.executed, caught.value.detail) == ("no", [])  # type: ignore[attr-defined]


def test_a_type_error_of_the_methods_own_did_run(proxy: Proxy) -> None:
    with pytest.raises(TypeError) as caught:
        proxy.own_type_error(1)
    assert caught.value.executed == "yes"  # type: ignore[attr-defined]
    assert "own_type_error" in caught.value.remote_traceback  # type: ignore[attr-defined]


def test_a_result_that_cannot_be_sent_is_an_error_of_the_object(proxy: Proxy) -> None:
    with pytest.raises(TypeError, match=r"bench\.unsendable returned what cannot be sent: "):
        proxy.unsendable()
    with pytest.raises(TypeError, match="dict key 1 is no text"):
        proxy.int_keys()


def test_arguments_that_cannot_be_sent_are_an_error_before_anything_is_sent(proxy: Proxy) -> None:
    with pytest.raises(TypeError, match="set has no form on the wire"):
        proxy.echo({1, 2})
    with pytest.raises(TypeError, match="dict key 1 is no text"):
        proxy.echo({1: 2})
    assert proxy.count() == 1


def test_a_request_that_is_too_large_is_not_sent() -> None:
    server = Server(LOOPBACK, max_frame=1 << 20)
    server.expose("bench", Bench())
    with server, Proxy(server.url, "bench") as proxy:
        assert len(proxy.echo(bytes(1_000_000))) == 1_000_000
        with pytest.raises(NotSent) as caught:
            proxy.echo(bytes(1 << 20))
        assert caught.value.reason == "TooLarge"
        assert "takes 1048576" in str(caught.value)
        assert proxy.count() == 1


def test_the_kinds_of_errors_are_related_as_documented() -> None:
    assert Unreachable is NotSent
    assert issubclass(NotSent, (NotExecuted, ConnectionError))
    assert issubclass(NotSent, NotExecuted)
    assert issubclass(NotSent, ConnectionError)
    assert issubclass(Timeout, TimeoutError)
    for kind in (NotExecuted, OutcomeUnknown, Timeout):
        assert issubclass(kind, CallError)
        assert issubclass(kind, ProximityError)
    assert not issubclass(RemoteError, CallError)


# Time.


def test_making_a_proxy_waits_for_nothing_and_the_first_use_does() -> None:
    url = free_url()
    began = time.monotonic()
    proxy = Proxy(url, "bench")
    assert time.monotonic() - began < 1
    server: list[Server] = []

    def later() -> None:
        server.append(Server(url))
        server[0].expose("bench", Bench())
        server[0].start()

    timer = threading.Timer(0.3, later)
    timer.start()
    assert proxy.add(1) == 3
    timer.join()
    server[0].stop()
    proxy.close()


def test_all_steps_of_a_first_use_share_its_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pause = 0.2
    given: list[tuple[str, float]] = []
    greet, call = Link.greet, Link.call
    greet_beside, call_beside = AsyncLink.greet, AsyncLink.call

    def slow(link: Link, timeout: float) -> Any:
        time.sleep(pause)
        return greet(link, timeout)

    def watched(link: Link, target: Target, args: Any, kwargs: Any, timeout: float) -> Any:
        given.append((target.op, timeout))
        if target.op == "describe":
            time.sleep(pause)
        return call(link, target, args, kwargs, timeout)

    async def slow_beside(link: AsyncLink, timeout: float) -> Any:
        await asyncio.sleep(pause)
        return await greet_beside(link, timeout)

    async def watched_beside(link: AsyncLink, target: Target, *rest: Any) -> Any:
        given.append((target.op, rest[-1]))
        return await call_beside(link, target, *rest)

    monkeypatch.setattr(Link, "greet", slow)
    monkeypatch.setattr(Link, "call", watched)
    monkeypatch.setattr(AsyncLink, "greet", slow_beside)
    monkeypatch.setattr(AsyncLink, "call", watched_beside)
    with Proxy(server.url, "bench", timeout=20) as proxy:
        assert isinstance(proxy.level, float)
        (first, describe), (second, get) = given
        assert (first, second) == ("describe", "get")
        assert describe <= 20 - pause
        assert get <= 20 - 2 * pause
    given.clear()
    with Proxy(server.url, "bench", timeout=20) as proxy:
        proxy.level = 2.5
        assert given[-1][0] == "set"
        assert given[-1][1] <= 20 - 2 * pause
    given.clear()

    async def connect() -> None:
        async with AsyncProxy(server.url, "bench", timeout=20):
            pass

    asyncio.run(connect())
    assert given[0][0] == "describe"
    assert given[0][1] <= 20 - pause


def test_an_agent_that_is_away_is_not_sent_within_the_time() -> None:
    url = free_url()
    proxy = Proxy(url, "bench", timeout=0.3)
    for use in (lambda: proxy.add(1), lambda: setattr(proxy, "gain", 1), lambda: proxy.gain):
        began = time.monotonic()
        with pytest.raises(NotSent) as caught:
            use()
        assert 0.25 < time.monotonic() - began < 2
        assert isinstance(caught.value, (ConnectionError, TimeoutError))
        assert isinstance(caught.value, Timeout)
    assert str(caught.value) == (
        f"hello() was not sent: no agent at {url} for 0.3 s\n"
        "hint: is the agent running, and does it listen on this address?"
    )


def test_a_call_that_takes_longer_is_outcome_unknown(proxy: Proxy, bench: Bench) -> None:
    proxy.add(1)
    for timeout in (0.05, 0.25):
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown) as caught:
            proxy.hold(timeout=timeout)
        assert timeout <= time.monotonic() - began < timeout + 0.1
        assert isinstance(caught.value, TimeoutError)
    assert "bench.hold was sent to" in str(caught.value)
    bench.gate.set()
    assert proxy.add(1) == 3, "a late answer is nobody else's"


def test_time_limits_of_a_proxy_and_of_a_call(proxy: Proxy, bench: Bench) -> None:
    quick = proxy.with_timeout(0.1)
    with pytest.raises(Timeout):
        quick.sleep(0.5)
    assert quick.sleep(0.2, timeout=5) == 0.2
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="it must be more than 0 seconds"):
            proxy.add(1, timeout=wrong)


def test_nothing_runs_after_its_time_is_over(proxy: Proxy, bench: Bench) -> None:
    """A call waits behind another for longer than its caller does."""
    proxy.add(1)
    held = threading.Thread(target=proxy.hold)
    held.start()
    bench.entered.acquire()
    with pytest.raises(OutcomeUnknown):
        proxy.count(timeout=0.1)
    bench.gate.set()
    held.join()
    assert proxy.count() == 1


def test_a_full_queue_is_refused_at_once(proxy: Proxy, bench: Bench) -> None:
    proxy.add(1)
    first = proxy.call_async("hold")
    bench.entered.acquire()
    waiting = [proxy.call_async("count") for _ in range(32)]
    until(lambda: proxy.call_async("echo", 1).exception(), "the queue is full")
    began = time.monotonic()
    with pytest.raises(NotExecuted) as caught:
        proxy.echo(1)
    assert time.monotonic() - began < 2
    assert caught.value.reason == "Busy"
    assert not isinstance(caught.value, Timeout)
    assert str(caught.value).startswith("object 'bench' is busy: its queue of 32 calls is full\n")
    bench.gate.set()
    assert first.result() == "held"
    assert sorted(call.result() for call in waiting) == list(range(1, 33))


# Restarts.


def test_a_restart_is_found_and_a_new_interface_taken_over() -> None:
    with Process(variant="a") as process, Proxy(process.url, "thing", timeout=20) as proxy:
        double = proxy.double
        assert proxy.only_a() == "a"
        for variant, other in (("b", "a"), ("a", "b"), ("b", "a")):
            process.kill()
            process.start(variant)
            assert double(21) == 42
            assert getattr(proxy, f"only_{variant}")() == variant
            assert f"only_{variant}" in dir(proxy)
            assert f"only_{other}" not in dir(proxy)
            with pytest.raises(AttributeError):
                getattr(proxy, f"only_{other}")


def test_a_restart_under_a_call_is_told_when_the_agent_is_back() -> None:
    with Process() as process, Proxy(process.url, "thing", timeout=20) as proxy:
        assert proxy.double(1) == 2
        call = proxy.call_async("sleep", 15)
        beside = _async_links[proxy._link]
        until(lambda: is_sent("sleep", beside), "it is sent")
        process.kill()
        process.start()
        began = time.monotonic()
        error = call.exception(20)
        assert time.monotonic() - began < 5
        assert isinstance(error, OutcomeUnknown)
        assert "was restarted before its answer" in str(error)
        assert not isinstance(error, Timeout)
        assert proxy.double(2) == 4


def test_a_stopping_server_tells_every_call(proxy: Proxy, server: Server, bench: Bench) -> None:
    proxy.add(1)
    running = proxy.call_async("hold")
    bench.entered.acquire()
    waiting = [proxy.call_async("count") for _ in range(5)]
    until(lambda: len(server._workers["bench"]._waiting) == 5, "calls wait")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    for call in waiting:
        error = call.exception(5)
        assert isinstance(error, NotExecuted)
        assert error.reason == "Draining"
    bench.gate.set()
    assert running.result(5) == "held"
    stopping.join()
    assert bench.calls == 0


def test_a_method_that_does_not_end_is_told_when_the_server_stops(
    proxy: Proxy, server: Server, bench: Bench
) -> None:
    proxy.add(1)
    running = proxy.call_async("hold")
    bench.entered.acquire()
    server.stop()
    error = running.exception(5)
    assert isinstance(error, OutcomeUnknown)
    assert error.reason == "Draining"


# Elsewhere.


def test_copies_and_pickles_find_the_same_object(proxy: Proxy) -> None:
    slow = proxy.with_timeout(33)
    for other in (copy.copy(slow), copy.deepcopy(slow), pickle.loads(pickle.dumps(slow))):
        assert other.add(1) == 3
        assert other._timeout == 33
        other.close()


def test_a_closed_proxy_may_be_used_again(proxy: Proxy) -> None:
    assert proxy.add(1) == 3
    proxy.close()
    assert repr(proxy).endswith(": closed>")
    assert proxy.add(1) == 3


def test_a_context_of_ones_own(server: Server) -> None:
    context = zmq.Context()
    with Agent(server.url, context=context) as agent:
        assert agent.bench.add(1) == 3
        assert agent.bench.call_async("add", 1).result() == 3
    context.term()


def test_an_original_server_is_named_as_such() -> None:
    """It answers a request with a name that it has not, and does not die of ours."""
    socket = zmq.Context.instance().socket(zmq.REP)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def original() -> None:
        request = socket.recv()
        assert b"kwargs" in request
        socket.send(b"\x81\xa9EXCEPTION\x93\xa8KeyError\xa2''\x90")

    thread = threading.Thread(target=original)
    thread.start()
    with Proxy(f"tcp://127.0.0.1:{port}", "foo") as foo, pytest.raises(NotExecuted) as caught:
        foo.add(1)
    assert "does not speak version 2" in str(caught.value)
    thread.join()
    socket.close(0)
