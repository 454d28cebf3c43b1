"""The names of the original PyProximity, on Python 3 and over Proximity's client and server.

::

    import zmq
    from py_proximity import PyProximityClient

    ctx = zmq.Context()
    foo = PyProximityClient(ctx, "foo", "tcp://colossus:5555")
    foo.sub_two(5, 3)

Programs written for the original run unchanged. New ones find more in `proximity`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq

from proximity import CallError, Proxy, RemoteError, Server, add_custom_encoding
from proximity._link import Link
from proximity._parts import Progress
from proximity._session import Target

__all__ = [
    "PyProximityClient",
    "PyProximityException",
    "PyProximityServer",
    "add_custom_encoding",
]

TIME_OUT = 60.0
"""Seconds that a call may take, unless told otherwise: the original's."""

# Seconds that making a client waits for the list of methods: the original's too.
_CONNECT_S = 0.1


class PyProximityException(Exception):
    """The object raised an error; the message is the list [class, text, traceback lines]."""

    def __init__(self, message: Any) -> None:
        super().__init__(message)


class PyProximityClient(Proxy):
    """A client of one object, as the original's.

    An error of the object is a `PyProximityException`, caused by the `proximity.RemoteError`.
    A call that does not come through raises a `proximity.CallError`, where the original gave None.

    ctx: a ZeroMQ context
    name: the object's name
    url: the server's address
    time_out: seconds that a call may take; 60 if None
    """

    def __init__(
        self, ctx: zmq.Context[Any], name: str, url: str, time_out: float | None = None
    ) -> None:
        super().__init__(_Link(url, ctx), name, TIME_OUT if time_out is None else time_out)
        with contextlib.suppress(CallError):
            self._load(time.monotonic() + _CONNECT_S)

    def __setattr__(self, name: str, value: Any) -> None:
        interface = self._interface
        if interface is not None and name in interface.attributes:
            super().__setattr__(name, value)
        else:
            # As on any Python object: programs hang further clients on one.
            self.__dict__[name] = value

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)


class _Link(Link):
    """Raises the original's exception for an object's error."""

    def call(
        self,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        timeout: float,
        progress: Progress | None = None,
    ) -> Any:
        try:
            return super().call(target, args, kwargs, timeout, progress)
        except RemoteError as error:
            told = [error.class_name, error.message, error.detail]
            raise PyProximityException(told) from error


class PyProximityServer(Server):
    """A server of any number of objects, as the original's.

    ctx: a ZeroMQ context
    url: where to listen, as ``tcp://127.0.0.1:5555``
    """

    def __init__(self, ctx: zmq.Context[Any], url: str) -> None:
        super().__init__(url, context=ctx)

    def run_loop(self, watchdogfn: Callable[[], object] | None = None) -> None:
        """Serves until `quit_loop`; calls `watchdogfn` about once a second, if there is one."""
        self.run(watchdogfn)

    def quit_loop(self) -> None:
        """Ends `run_loop`, from any thread."""
        self.stop()
