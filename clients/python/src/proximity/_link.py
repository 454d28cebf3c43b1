"""The way to an agent: connections, and calls over them, for any thread."""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq

from . import _codec
from ._session import (
    HELLO,
    RECONNECT_FIRST_MS,
    RECONNECT_MOST_MS,
    Session,
    Target,
    is_answer,
    may_retry,
)
from .errors import CallError, OutcomeUnknown, call_error
from .interface import Interface

if TYPE_CHECKING:
    from .client import Proxy

# How long a wait goes on before it is looked whether the connection still stands: the quickest
# calls are not to pay for that.
_SLICE_S = 0.01
# A connection unused for longer may have broken and come back meanwhile.
_QUIET_S = 0.001
# Connections kept for the next call; more are made where more threads call at once.
_KEPT = 8
# Milliseconds that a cancelled call's word to the agent may take after the connection is closed.
_CANCEL_LINGER_MS = 200

# Bytes from which on it is worth not to copy a message.
_LARGE = 1 << 16
# A frame with another behind it; the flags of pyzmq are slow to combine.
_MORE = int(zmq.SNDMORE) | int(zmq.DONTWAIT)
NO_KWARGS: dict[str, Any] = {}


def address(url: str) -> str:
    """Gives the whole of an address of which only the host may have been told."""
    if "://" not in url:
        url = f"tcp://{url}" if re.search(r":\d+$", url) else f"tcp://{url}:5555"
    if not re.match(r"tcp://.+:\d+$|(ipc|inproc)://.+$", url):
        raise ValueError(f"'{url}' is no address; it must be like tcp://host:5555 or ipc:///path")
    return url


def dealer(context: Any, url: str) -> Any:
    """Makes a socket as the agent expects it of a client; connecting is left to it."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    # A request waits here, not in a queue from which it could be delivered after we gave it up.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_FIRST_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MOST_MS)
    return socket


class Connection:
    """One socket to an agent, in the hands of one call at a time."""

    def __init__(self, context: zmq.Context[Any], url: str) -> None:
        self.packer = _codec.Packer()
        self.used = 0.0
        self.socket: zmq.Socket[bytes] = dealer(context, url)
        self.socket.setsockopt(zmq.RCVTIMEO, int(_SLICE_S * 1000))
        self._monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._sent = 0
        self.socket.connect(url)

    def came_back(self, now: float) -> bool:
        """Whether the connection broke since it was last used: the agent may be another by now."""
        return now - self.used > _QUIET_S and self.broke()

    def exchange(
        self, session: Session, target: Target, number: int, data: bytes, began: float, end: float
    ) -> Any:
        """Sends a request and gives its reply; raises a `CallError` at time `end` at the latest."""
        self.send(session, target, data, began, end)
        self._sent = number
        while True:
            reply = self.receive(session, target, began, end)
            if is_answer(reply, number):
                self._sent = 0
                self.used = time.monotonic()
                return reply

    def send(self, session: Session, target: Target, data: bytes, began: float, end: float) -> None:
        """Sends one request, as soon as there is a connection to send it on."""
        socket = self.socket
        while True:
            try:
                socket.send(b"", _MORE)
                break
            except zmq.Again:
                left = end - time.monotonic()
                if left <= 0 or not socket.poll(_ms(left), zmq.POLLOUT):
                    raise session.not_sent(target, end - began) from None
                self.broke()
        socket.send(data, 0, len(data) < _LARGE)

    def receive(self, session: Session, target: Target, began: float, end: float) -> Any:
        """Gives the next message, whatever it is."""
        socket = self.socket
        if end - began < _SLICE_S:
            self._wait(session, target, began, end)
        while True:
            try:
                data: Any = socket.recv()
                break
            except zmq.Again:
                pass
            self._wait(session, target, began, end)
        if not data:  # the delimiter
            data = socket.recv(copy=False).buffer if target.large else socket.recv()
        target.large = len(data) >= _LARGE
        try:
            return _codec.unpack(data)
        except ValueError as error:
            raise call_error(
                OutcomeUnknown,
                f"{target}: the reply of {session.url} is no MessagePack",
                detail=[str(error)],
            ) from error

    def _wait(self, session: Session, target: Target, began: float, end: float) -> None:
        """Waits for a message, the end of the time or of the connection."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        left = end - time.monotonic()
        ready = dict(poller.poll(_ms(left))) if left > 0 else {}
        # What was answered before the connection broke counts.
        if self.socket in ready or self.socket.poll(0):
            return
        if not ready:
            raise session.not_answered(target, end - began)
        session.fresh_until = -math.inf
        raise session.lost(target)

    def broke(self) -> bool:
        """Whether the connection broke since this was last asked."""
        broke = False
        with contextlib.suppress(zmq.Again):
            while True:
                self._monitor.recv_multipart(zmq.DONTWAIT)
                broke = True
        return broke

    def abandon(self, session: Session) -> None:
        """Closes the connection, telling the agent not to begin with what nobody waits for."""
        if self._sent:
            data = session.cancel(self.packer, self._sent, time.monotonic() + 1)
            with contextlib.suppress(zmq.ZMQError):
                self.socket.send_multipart([b"", data], zmq.DONTWAIT)
                self.socket.setsockopt(zmq.LINGER, _CANCEL_LINGER_MS)
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        if not self.socket.closed:  # as with its context
            self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close()


# Sockets of a process before it forked: its child must neither use nor close them.
_inherited: list[Connection] = []
_links: weakref.WeakSet[Link] = weakref.WeakSet()


def _after_fork() -> None:
    for link in _links:
        link.begin_anew()


os.register_at_fork(after_in_child=_after_fork)


class Link:
    """A client's way to one agent: a session, and a connection for each call that is under way.

    So any thread may call at any time, and a call costs no hop to another thread.
    """

    def __init__(self, url: str, context: zmq.Context[Any] | None = None) -> None:
        self.url = address(url)
        self.session = Session(self.url)
        self.state = "not yet reached"
        self.proxies: weakref.WeakSet[Proxy] = weakref.WeakSet()
        self._context = context
        self._idle: list[Connection] = []
        self.closers: list[Callable[[], object]] = []
        weakref.finalize(self, _close_all, self._idle, self.closers)
        _links.add(self)

    @property
    def context(self) -> zmq.Context[Any]:
        """The ZeroMQ context of this process."""
        return self._context or zmq.Context.instance()

    def call(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], timeout: float
    ) -> Any:
        """Makes one call; gives its value or raises what came of it, within `timeout` seconds."""
        began = time.monotonic()
        end = began + timeout
        session = self.session
        while True:
            connection = self.take()
            try:
                if began >= session.fresh_until or connection.came_back(began):
                    self.hello(connection, began, end)
                number, data = session.request(connection.packer, target, args, kwargs, end)
                reply = connection.exchange(session, target, number, data, began, end)
            except BaseException as error:
                self.give_up(connection, error)
                raise
            self.give_back(connection)
            if "ok" in reply:
                return reply["ok"]
            failure = session.failure(reply, target)
            if not may_retry(failure, end):
                raise failure
            session.fresh_until = -math.inf

    def take(self) -> Connection:
        """Gives a connection that nobody else uses."""
        try:
            return self._idle.pop()
        except IndexError:
            return Connection(self.context, self.url)

    def give_back(self, connection: Connection) -> None:
        """Takes a connection back on which nothing is under way."""
        if len(self._idle) < _KEPT:
            self._idle.append(connection)
        else:
            connection.close()

    def give_up(self, connection: Connection, error: BaseException) -> None:
        """Drops a connection on which something went wrong."""
        if isinstance(error, CallError) and error.reason is None:
            self.state = "not reachable"
        connection.abandon(self.session)

    def hello(self, connection: Connection, began: float, end: float) -> None:
        """Learns the agent's epoch, clock, limits and objects."""
        number, data = self.session.hello(connection.packer)
        reply = connection.exchange(self.session, HELLO, number, data, began, end)
        self.session.greet(reply, time.monotonic())
        self.state = "connected"
        for proxy in list(self.proxies):
            proxy._forget_if_changed(self.session.objects)

    def greet(self, timeout: float) -> Session:
        """Says hello now; gives the session."""
        began = time.monotonic()
        connection = self.take()
        try:
            self.hello(connection, began, began + timeout)
        except BaseException as error:
            self.give_up(connection, error)
            raise
        self.give_back(connection)
        return self.session

    def describe(self, name: str, timeout: float) -> Interface:
        """Gives the interface of an object."""
        return Interface(self.call(Target("describe", name), (), NO_KWARGS, timeout))

    def close(self) -> None:
        """Closes the connections that are not in use; a later call opens another."""
        _close_all(self._idle, self.closers)
        self.state = "closed"

    def begin_anew(self) -> None:
        """Forgets, in a forked child, what belongs to its parent."""
        _inherited.extend(self._idle)
        self._idle.clear()
        self.closers.clear()
        self._context = None
        self.session.begin()


def _close_all(connections: list[Connection], closers: list[Callable[[], object]]) -> None:
    while connections:
        connections.pop().close()
    while closers:
        closers.pop()()


def _ms(seconds: float) -> int:
    # Rounded up: a wait that ends early would only begin again.
    return max(1, int(seconds * 1000 + 0.999))
