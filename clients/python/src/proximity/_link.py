"""The way to an agent: its session, and a connection for each call under way, for any thread."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import zmq

from ._attempt import Attempt, LostError
from ._connection import Connection
from ._dealer import address, context_for
from ._parts import Progress
from ._session import HELLO, Session, Target, no_agent, time_left, unreadable
from .errors import CallError, NotSent, OutcomeUnknown, ProximityError, Timeout
from .interface import Interface

if TYPE_CHECKING:
    from .client import Proxy

# Connections kept for the next call; more are made where more threads call at once.
_KEPT = 8
NO_KWARGS: dict[str, Any] = {}


def interface_of(url: str, target: Target, text: Any) -> Interface:
    """Reads the description that the agent at `url` gave of an object, as `target` asked it to."""
    try:
        return Interface(text)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(url, target, f"{type(error).__name__}: {error}") from None


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
        """The ZeroMQ context of this process for this agent."""
        return self._context or context_for(self.url)

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
