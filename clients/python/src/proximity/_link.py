"""The way to an agent: connections, and calls over them, for any thread."""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import random
import re
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq

from . import _codec
from ._attempt import Attempt, LostError
from ._parts import Parts, Progress, is_part, is_whole, note_size
from ._session import (
    GIVEN_UP_S,
    HELLO,
    HURRIED_FIRST_MS,
    HURRY_PAUSE_S,
    HURRY_S,
    RECONNECT_FIRST_MS,
    RECONNECT_MOST_MS,
    Session,
    Target,
    is_answer,
    no_agent,
    time_left,
    unreadable,
)
from .errors import CallError, NotSent, OutcomeUnknown, ProximityError, Timeout, call_error
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

# Milliseconds that an attempt to connect may take, and then the handshake, before the next attempt.
_PATIENCE_MS = 3000

# Seconds until an idle connection is asked whether it still stands, between two such questions, and
# how many may stay unanswered: one to a machine that was switched off is noticed after 19 s.
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 10, 3, 3

# Bytes from which on it is worth not to copy a message.
_LARGE = 1 << 16
# As plain numbers: the flags of pyzmq are slow to combine and to pass on.
_NOW = int(zmq.DONTWAIT)
_MORE = _NOW | int(zmq.SNDMORE)
TAKEN, UP, DOWN = (
    int(event)
    for event in (zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED)
)
"""What a monitor tells: the agent's machine takes a connection, it stands, it is lost."""
NO_KWARGS: dict[str, Any] = {}


def address(url: str) -> str:
    """Gives the whole of an address of which only the host may have been told."""
    if not isinstance(url, str):
        raise TypeError(
            f"an agent's address is text, like tcp://host:5555, not {type(url).__name__}"
        )
    if "://" not in url:
        url = f"tcp://{url}" if re.search(r":\d+$", url) else f"tcp://{url}:5555"
    # Before the host, libzmq takes whence to connect. An IPv6 address has brackets.
    port = re.match(r"tcp://(?:\S+;)?(?:\[\S+\]|[^\s:;]+):(\d{1,5})$", url)
    if not (int(port[1]) < 1 << 16 if port else re.match(r"(ipc|inproc)://.+$", url)):
        raise ValueError(
            f"'{url}' is no address; it must be like tcp://host:5555, tcp://[fd00::1]:5555"
            " or ipc:///path"
        )
    return url


def dealer(context: Any, url: str, *, hurried: bool = False) -> Any:
    """Makes a socket as the agent expects it of a client; connecting is left to it.

    A hurried one is for an agent that was there a moment ago.
    """
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    # A name may resolve to IPv6 first where the agent listens on IPv4: only if asked for.
    socket.setsockopt(zmq.IPV6, int("[" in url))
    # A request waits here, not in a queue from which it could be delivered after we gave it up.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, _PATIENCE_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _PATIENCE_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, _KEEPALIVE_IDLE_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, _KEEPALIVE_INTERVAL_S)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, _KEEPALIVE_PROBES)
    first = HURRIED_FIRST_MS if hurried else RECONNECT_FIRST_MS
    socket.setsockopt(zmq.RECONNECT_IVL, random.randint(*first))
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, random.randint(*RECONNECT_MOST_MS))
    return socket


def interface_of(url: str, target: Target, text: Any) -> Interface:
    """Reads the description that the agent at `url` gave of an object, as `target` asked it to."""
    try:
        return Interface(text)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(url, target, f"{type(error).__name__}: {error}") from None


_monitors = itertools.count()


def opened(context: Any, url: str, *, hurried: bool = False) -> tuple[Any, Any]:
    """Makes a socket that connects, which waits for nothing, and its monitor.

    Raises ValueError for an address that libzmq cannot even try, NotSent where there is no room.
    """
    socket = monitor = None
    try:
        socket = dealer(context, url, hurried=hurried)
        told_at = f"inproc://proximity-monitor-{next(_monitors)}"
        socket.monitor(told_at, TAKEN | UP | DOWN)
        monitor = context.socket(zmq.PAIR)
        # libzmq's I/O thread would wait for a place in a full queue, and every connection with it.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(told_at)
        socket.connect(url)
    except zmq.ZMQError as error:
        shut(socket, monitor)
        if error.errno == zmq.ETERM:
            raise
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise call_error(
                NotSent,
                f"nothing was sent: no connection to {url} can be opened: {error.strerror}",
                hint="close what is not used; proxies that one Agent gives share its connections",
            ) from None
        raise ValueError(f"cannot connect to '{url}': {error.strerror}") from None
    return socket, monitor


def shut(socket: Any, monitor: Any) -> None:
    """Closes a socket and its monitor, as far as there are any."""
    if socket is not None and not socket.closed:  # as with its context
        socket.disable_monitor()
        socket.close()
    if monitor is not None:
        monitor.close(0)


def event_of(parts: Sequence[bytes]) -> int:
    """Which event of a socket's monitor this is."""
    return int.from_bytes(parts[0][:2], sys.byteorder)


class Connection:
    """One socket to an agent, in the hands of one call at a time."""

    def __init__(self, context: zmq.Context[Any], url: str) -> None:
        self.packer = _codec.Packer()
        self.used = 0.0
        self._context = context
        self._url = url
        self._sent = 0
        self._lost = -math.inf
        self._open()

    def _open(self, *, hurried: bool = False) -> None:
        self.socket, self._monitor = opened(self._context, self._url, hurried=hurried)
        self.socket.setsockopt(zmq.RCVTIMEO, int(_SLICE_S * 1000))
        self._down = self._taken = self._stood = False
        self._is_hurried = hurried
        self._begun = time.monotonic()
        self._given_up = math.inf

    def came_back(self, now: float) -> bool:
        """Whether the connection broke since it was last used: the agent may be another by now."""
        return now - self.used > _QUIET_S and self.broke()

    def exchange(
        self,
        session: Session,
        target: Target,
        number: int,
        data: bytes,
        began: float,
        end: float,
        progress: Progress | None = None,
    ) -> Any:
        """Sends a request and gives its reply; raises a `CallError` at time `end` at the latest.

        Raises LostError where the connection breaks in between.
        """
        self.send(session, target, data, began, end)
        self._sent = number
        parts: Parts | None = None
        while True:
            reply = self.receive(session, target, began, end)
            if is_answer(reply, session, target, number):
                if is_whole(reply, parts):
                    self._sent = 0
                    self.used = time.monotonic()
                    return reply
            elif is_part(reply, session.client, number):
                parts = parts or Parts(session, target, progress)
                more = parts.take(reply)
                if more:
                    self.tell(session.credit(self.packer, number, more))
            # Whoever keeps sending is not waited for any longer than others.
            if time.monotonic() >= end:
                raise session.not_answered(target, end - began)

    def tell(self, data: bytes) -> None:
        """Sends a message that gets no reply of its own, if the connection still stands."""
        with contextlib.suppress(zmq.Again):
            self.socket.send(data, _NOW)

    def is_busy(self) -> bool:
        """Whether something was sent of which the end is not known."""
        return self._sent != 0

    def note_sent(self, number: int) -> None:
        """Notes the last request that was sent, or 0 where all are answered."""
        self._sent = number

    def send(self, session: Session, target: Target, data: bytes, began: float, end: float) -> None:
        """Sends one request, as soon as there is a connection to send it on."""
        while True:
            # For a moment after a connection broke, what is sent is still taken, and lost.
            if not self._down:
                try:
                    if not session.run.epoch:
                        # As a REQ socket does, for an original server takes nothing else.
                        self.socket.send(b"", _MORE)
                    self.socket.send(data, _NOW, len(data) < _LARGE)
                    return
                except zmq.Again:
                    pass
            left = end - time.monotonic()
            if left <= 0:
                raise session.not_sent(target, end - began)
            left = min(left, self._hurry())
            poller = zmq.Poller()
            poller.register(self._monitor, zmq.POLLIN)
            if not self._down:
                poller.register(self.socket, zmq.POLLOUT)
            poller.poll(_ms(left))
            self.broke()

    def _hurry(self) -> float:
        """Begins to connect anew where it is time to; gives the time until it will be."""
        now = time.monotonic()
        if self._taken:
            return math.inf
        soon = now - self._lost <= HURRY_S
        due = (self._begun + HURRY_PAUSE_S if soon else self._given_up) - now
        if due > 0:
            return due
        # By another socket: what is sent over this one could still go to the connection that goes.
        old = self.socket, self._monitor
        try:
            self._open(hurried=soon)
        except NotSent:  # there is no room for another: libzmq goes on with this one
            self._begun, self._given_up = now, math.inf
        else:
            shut(*old)
        return HURRY_PAUSE_S

    def receive(self, session: Session, target: Target, began: float, end: float) -> Any:
        """Gives the next message, whatever it is."""
        if end - began < _SLICE_S:
            self._wait(session, target, began, end)
        data: Any = b""
        while not data:  # as the delimiter is
            try:
                data = self.socket.recv(0, not target.large)
            except zmq.Again:
                self._wait(session, target, began, end)
        if target.large:
            data = data.buffer
        target.large = len(data) >= _LARGE
        if target.large:
            note_size(target, len(data))
        try:
            return _codec.unpack(data)
        except ValueError as error:
            raise unreadable(session.url, target, f"ValueError: {error}") from error

    def _wait(self, session: Session, target: Target, began: float, end: float) -> None:
        """Waits for a message, the end of the time or of the connection."""
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        poller.register(self._monitor, zmq.POLLIN)
        while True:
            left = end - time.monotonic()
            ready = dict(poller.poll(_ms(left))) if left > 0 else {}
            # What was answered before the connection broke counts.
            if self.socket in ready or self.socket.poll(0):
                return
            if not ready:
                raise session.not_answered(target, end - began)
            if self.broke():
                session.fresh_until = -math.inf
                self._sent = 0
                raise LostError

    def broke(self) -> bool:
        """Whether the connection broke since this was last asked."""
        broke = False
        with contextlib.suppress(zmq.Again):
            while True:
                event = event_of(self._monitor.recv_multipart(_NOW))
                self._taken = event != DOWN
                self._given_up = math.inf
                if event == DOWN:
                    now = time.monotonic()
                    self._given_up = now + random.uniform(*GIVEN_UP_S)
                    if self._stood:
                        self._lost = self._begun = now
                    elif self._is_hurried:
                        # Taken and closed at once, as by a tunnel without an agent behind it:
                        # libzmq's pauses begin anew each time, with the shortest.
                        self._given_up = now
                    self._stood, self._down, broke = False, True, True
                elif event == UP:
                    self._stood, self._down = True, False
        return broke

    def abandon(self, session: Session) -> None:
        """Closes the connection, telling the agent not to begin with what nobody waits for."""
        if self._sent:
            with contextlib.suppress(zmq.ZMQError):
                self.tell(session.cancel(self.packer, self._sent, time.monotonic() + 1))
                self.socket.setsockopt(zmq.LINGER, _CANCEL_LINGER_MS)
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        shut(self.socket, self._monitor)


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
        self._proxies: weakref.WeakSet[Proxy] = weakref.WeakSet()
        # None of them comes while they are gone through.
        self._proxies_lock = threading.Lock()
        self._context = context
        self._idle: list[Connection] = []
        self.closers: list[Callable[[], object]] = []
        weakref.finalize(self, _close_all, self._idle, self.closers)
        _links.add(self)

    def note(self, proxy: Proxy) -> None:
        """Notes who wants to know when the agent's objects change."""
        with self._proxies_lock:
            self._proxies.add(proxy)

    @property
    def context(self) -> zmq.Context[Any]:
        """The ZeroMQ context of this process."""
        return self._context or zmq.Context.instance()

    def call(
        self,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        timeout: float,
        progress: Progress | None = None,
    ) -> Any:
        """Makes one call; gives its value or raises what came of it, within `timeout` seconds."""
        __tracebackhide__ = True
        began = now = time.monotonic()
        end = began + timeout
        session = self.session
        attempt = Attempt(session, target, end)
        connection = self.take()
        failure: ProximityError | None = None
        try:
            while failure is None:
                if now >= session.fresh_until or connection.came_back(now):
                    self.hello(connection, target, began, end)
                if attempt.is_lost and not self.may_repeat(attempt, target, end):
                    raise attempt.not_repeated()
                data = attempt.request(connection.packer, args, kwargs, progress is not None)
                try:
                    reply = connection.exchange(
                        session, target, attempt.number, data, began, end, progress
                    )
                except LostError:
                    attempt.lose()
                    now = time.monotonic()
                    continue
                if "ok" in reply:
                    break
                failure = attempt.refused(reply)
        except BaseException as error:
            self.give_up(connection, error)
            if isinstance(error, CallError):
                # Where in here it came up tells a caller nothing.
                raise attempt.failed(error, timeout).with_traceback(None) from None
            raise
        self.give_back(connection)
        if failure is not None:
            raise failure
        return reply["ok"]

    def may_repeat(self, attempt: Attempt, target: Target, end: float) -> bool:
        """Whether a request whose connection broke may be sent again; asks what the method does."""
        known = attempt.may_repeat()
        if known is None:
            with contextlib.suppress(ProximityError):
                return attempt.reads(self.describe(target.name, time_left(end)))
        return bool(known)

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
        """Takes back a connection on which something went wrong."""
        if isinstance(error, CallError) and error.reason is None:
            self.state = "not reachable"
        if isinstance(error, Timeout) and connection.is_busy():
            # Its way may be dead without a word, as where a machine was switched off, and the idle
            # ones' with it: each would cost another call its time.
            _close_idle(self._idle)
        # One that is still being made goes on with it: another would begin anew at once, and many
        # clients that do so keep an agent from coming back.
        if isinstance(error, Exception) and not connection.is_busy():
            self.give_back(connection)
        else:
            connection.abandon(self.session)

    def hello(self, connection: Connection, target: Target, began: float, end: float) -> None:
        """Learns the agent's epoch, clock, limits and objects, before a request for `target`."""
        while True:
            number, data = self.session.hello(connection.packer)
            try:
                reply = connection.exchange(self.session, HELLO, number, data, began, end)
                break
            except LostError:
                continue
            except OutcomeUnknown as error:
                if not isinstance(error, Timeout):
                    raise no_agent(self.url, target, error) from None
                raise self.session.not_greeted(target, end - began) from None
            except NotSent:
                raise self.session.not_sent(target, end - began) from None
        try:
            self.session.greet(reply, time.monotonic())
        except OutcomeUnknown as error:
            raise no_agent(self.url, target, error) from None
        self.state = "connected"
        with self._proxies_lock:
            proxies = list(self._proxies)
        for proxy in proxies:
            proxy._forget_if_changed(self.session.objects)

    def greet(self, timeout: float) -> Session:
        """Says hello now; gives the session."""
        __tracebackhide__ = True
        began = time.monotonic()
        connection = self.take()
        try:
            self.hello(connection, HELLO, began, began + timeout)
        except BaseException as error:
            self.give_up(connection, error)
            if isinstance(error, CallError):
                raise error.with_traceback(None) from None
            raise
        self.give_back(connection)
        return self.session

    def describe(self, name: str, timeout: float) -> Interface:
        """Gives the interface of an object."""
        __tracebackhide__ = True
        target = Target("describe", name)
        return interface_of(self.url, target, self.call(target, (), NO_KWARGS, timeout))

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
        self._proxies_lock = threading.Lock()
        for proxy in self._proxies:
            proxy._begin_anew()


def _close_idle(connections: list[Connection]) -> None:
    with contextlib.suppress(IndexError):  # another thread may take the last
        while True:
            connections.pop().close()


def _close_all(connections: list[Connection], closers: list[Callable[[], object]]) -> None:
    _close_idle(connections)
    while closers:
        closers.pop()()


def _ms(seconds: float) -> int:
    # Rounded up: a wait that ends early would only begin again.
    return max(1, int(seconds * 1000 + 0.999))
