"""The original's names: the session of its README, typed on Python 3."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from conftest import free_url, until
from objects import REGISTERS, Foo, Fpga
from proximity import CallError, Timeout
from py_proximity import (
    PyProximityClient,
    PyProximityException,
    PyProximityServer,
    add_custom_encoding,
)


@pytest.fixture
def url() -> Iterator[str]:
    """Serves foo and srbs as the README does."""
    ctx = zmq.Context()
    url = free_url()
    server = PyProximityServer(ctx, url)
    srbs = Fpga()
    foo = Foo()
    server.expose("foo", foo)
    server.expose("srbs", srbs)
    loop = threading.Thread(target=server.run_loop)
    loop.start()
    yield url
    server.quit_loop()
    loop.join(5)
    assert not loop.is_alive()
    ctx.term()


def test_the_session_with_foo(url: str) -> None:
    ctx = zmq.Context()
    foo = PyProximityClient(ctx, "foo", url)
    assert dir(foo) == ["div_two", "sub_two"]
    assert foo.sub_two.__doc__ == (
        "usage: sub_two(x, y)\n"
        "Subtracts y from x.\n\nx: first value\ny: second value\n\nreturns: x - y"
    )
    assert foo.div_two.__doc__ == "usage: div_two(x, y)"
    assert foo.div_two(500, 2) == 250
    assert foo.sub_two(5, 3) == 2
    assert foo.sub_two(y=3, x=5) == 2
    foo.close()
    ctx.term()


def test_the_session_with_srbs(url: str) -> None:
    ctx = zmq.Context()
    srbs = PyProximityClient(ctx, "srbs", url)
    assert len(dir(srbs)) == 46
    assert {"blindwrite", "config_10gbe_core", "est_brd_clk", "snapshot_get"} <= set(dir(srbs))
    assert srbs.tap_start.__doc__ == (
        "usage: tap_start(tap_dev, device, mac, ip, port)\n"
        "Program a 10GbE device and start the TAP driver."
    )
    assert srbs.listdev() == list(REGISTERS)
    srbs.write_int("sys_scratchpad", 0xBEEF)
    assert srbs.read_uint("sys_scratchpad") == 0xBEEF
    assert srbs.read("sys_scratchpad", 4) == b"\0\0\xbe\xef"
    # Two objects on one server.
    foo = PyProximityClient(ctx, "foo", url)
    assert foo.sub_two(5, 3) == 2
    foo.close()
    srbs.close()
    ctx.term()


def test_the_division_by_zero(url: str) -> None:
    ctx = zmq.Context()
    foo = PyProximityClient(ctx, "foo", url)
    with pytest.raises(PyProximityException) as caught:
        foo.div_two(2, 0)
    kind, message, lines = caught.value.args[0]
    assert kind == "ZeroDivisionError"
    assert "by zero" in message
    assert any("in div_two" in line for line in lines)
    shown = "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))
    assert "Traceback on the other side (most recent call last):" in shown
    assert "return x // y" in shown
    foo.close()
    ctx.term()


def test_an_interface_that_is_none(url: str) -> None:
    ctx = zmq.Context()
    with pytest.raises(PyProximityException) as caught:
        PyProximityClient(ctx, "bar", url)
    assert caught.value.args[0][0] == "KeyError"
    ctx.destroy(0)


def test_client_before_server() -> None:
    ctx = zmq.Context()
    url = free_url()
    began = time.monotonic()
    foo = PyProximityClient(ctx, "foo", url, 5)
    assert time.monotonic() - began < 2, "the constructor waits as long as the original's"
    server = PyProximityServer(ctx, url)
    server.expose("foo", Foo())
    loop = threading.Thread(target=server.run_loop)
    loop.start()
    assert foo.sub_two(5, 3) == 2
    server.quit_loop()
    loop.join()
    foo.close()
    ctx.destroy(0)


def test_a_call_without_an_answer_raises_and_gives_no_none() -> None:
    ctx = zmq.Context()
    foo = PyProximityClient(ctx, "foo", free_url(), time_out=0.2)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(CallError) as caught:
            foo.sub_two(5, 3)
        assert isinstance(caught.value, Timeout)
        assert time.monotonic() - began < 2
    foo.close()
    ctx.term()


def test_programs_may_hang_attributes_on_a_client(url: str) -> None:
    ctx = zmq.Context()
    srbs = PyProximityClient(ctx, "srbs", url)
    srbs.helper = PyProximityClient(ctx, "foo", url)
    assert srbs.helper.sub_two(5, 3) == 2
    srbs.helper.close()
    srbs.close()
    ctx.term()


def test_the_watchdog_is_called_and_may_quit() -> None:
    ctx = zmq.Context()
    server = PyProximityServer(ctx, free_url())
    calls: list[int] = []

    def watchdog() -> None:
        calls.append(1)
        server.quit_loop()

    loop = threading.Thread(target=server.run_loop, args=(watchdog,))
    loop.start()
    until(lambda: calls, "the watchdog was called")
    loop.join(5)
    assert not loop.is_alive()
    ctx.term()


class Angle:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


def test_custom_encoding_as_the_originals(url: str) -> None:
    from proximity import remove_custom_encoding

    def encode(o: list[Any]) -> list[Any]:
        if not o[0] and isinstance(o[1], Angle):
            o[0], o[1] = True, {"__angle__": o[1].degrees}
        return o

    def decode(o: list[Any]) -> list[Any]:
        if not o[0] and "__angle__" in o[1]:
            o[0], o[1] = True, Angle(o[1]["__angle__"])
        return o

    ctx = zmq.Context()
    server = PyProximityServer(ctx, free_url())

    class Dish:
        def turn(self, angle: Angle) -> Angle:
            return Angle(angle.degrees * 2)

    server.expose("dish", Dish())
    loop = threading.Thread(target=server.run_loop)
    loop.start()
    add_custom_encoding(encode, decode)
    try:
        dish = PyProximityClient(ctx, "dish", server.url)
        assert dish.turn(Angle(45.0)).degrees == 90.0
        dish.close()
    finally:
        remove_custom_encoding(encode, decode)
        server.quit_loop()
        loop.join()
        ctx.term()
