"""The same for asyncio, and what `Proxy.call_async` runs on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import Any

import zmq

from . import _lease, _link, client
from ._attempt import Attempt, LostError
from ._channel import Channel
from ._dealer import address, context_for
from ._parts import Progress
from ._session import (
    DEFAULT_TIMEOUT,
    HELLO,
    Holding,
    Session,
    Target,
    no_agent,
    object_name,
    positive,
    time_left,
)
from .errors import CallError, OutcomeUnknown, ProximityError, Timeout
from .interface import Interface, Method

HELLO_PATIENCE_S = 3.0
"""Hello is answered at once, whatever the agent's objects do. Without an answer in this time the
connection is dead, though nobody has closed it, and another is made."""


_links: weakref.WeakSet[AsyncLink] = weakref.WeakSet()
# What a process had before it forked: its child must neither use nor close it.
_inherited: list[Channel] = []


class AsyncLink:
    """A client's way to one agent, for asyncio."""

    def __init__(self, url: str, context: zmq.Context[Any] | None = None) -> None:
        self.session = Session(address(url))
        self.closed = False
        # Those that run by themselves; asyncio only remembers them weakly.
        self._tasks: set[asyncio.Task[Any]] = set()
        self._context = context
        self._channels: dict[asyncio.AbstractEventLoop, Channel] = {}
        # At the end of the process its loops need no more of this.
        weakref.finalize(self, _close_all, self._channels).atexit = False
        _links.add(self)

    def channel(self) -> Channel:
        """Gives the connection that belongs to the running event loop."""
        loop = asyncio.get_running_loop()
        channel = self._channels.get(loop)
        if channel is None or channel.closed:
            for other in list(self._channels):
                over = self._channels.pop(other, None) if other.is_closed() else None
                if over is not None:
                    over.close()
            context = self._context or context_for(self.session.url)
            channel = self._channels[loop] = Channel(context, self.session)
        return channel

    async def call(
        self,
        target: Target,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        timeout: float,
        progress: Progress | None = None,
    ) -> Any:
        """Makes one call; gives its value or raises what came of it, within `timeout` seconds."""
        began = time.monotonic()
        end = began + timeout
        session, channel = self.session, self.channel()
        attempt = Attempt(session, target, end)
        while True:
            try:
                if time.monotonic() >= session.fresh_until:
                    await self._hello(channel, target, began, end)
                if attempt.is_lost and not await self._may_repeat(attempt, target, end):
                    raise attempt.not_repeated()
                data = attempt.request(channel.packer, args, kwargs, progress is not None)
                reply = await channel.exchange(target, attempt.number, data, began, end, progress)
            except LostError:
                attempt.lose()
                continue
            except CallError as error:
                raise attempt.failed(error, timeout) from None
            if "ok" in reply:
                return reply["ok"]
            failure = attempt.refused(reply)
            if failure is not None:
                raise failure

    async def _may_repeat(self, attempt: Attempt, target: Target, end: float) -> bool:
        """Whether a request whose connection broke may be sent again; asks what the method does."""
        known = attempt.may_repeat()
        if known is None:
            with contextlib.suppress(ProximityError):
                return attempt.reads(await self.describe(target.name, time_left(end)))
        return bool(known)

    async def _hello(self, channel: Channel, target: Target, began: float, end: float) -> None:
        """Learns the agent's epoch, clock, limits and objects, before a request for `target`."""
        while True:
            number, data = self.session.hello(channel.packer)
            patience = min(end, time.monotonic() + HELLO_PATIENCE_S)
            try:
                reply = await channel.exchange(HELLO, number, data, began, patience)
                break
            except LostError:
                continue
            except asyncio.CancelledError:
                channel.give_up_if_dead()
                raise
            except CallError as error:
                if channel.closed:
                    raise channel.gone(target) from None
                sent = isinstance(error, OutcomeUnknown)
                if sent and not isinstance(error, Timeout):
                    raise no_agent(self.session.url, target, error) from None
                if sent:
                    channel.give_up_if_dead()
                if patience < end:
                    continue
                failure = self.session.not_greeted if sent else self.session.not_sent
                raise failure(target, end - began) from None
        try:
            self.session.greet(reply, time.monotonic())
        except OutcomeUnknown as error:
            raise no_agent(self.session.url, target, error) from None

    async def greet(self, timeout: float) -> Session:
        """Says hello now; gives the session."""
        began = time.monotonic()
        await self._hello(self.channel(), HELLO, began, began + timeout)
        return self.session

    async def describe(self, name: str, timeout: float) -> Interface:
        """Gives the interface of an object."""
        target = Target("describe", name)
        text = await self.call(target, (), {}, timeout)
        return _link.interface_of(self.session.url, target, text)

    def forget(self, terms: _lease.Terms) -> None:
        """Has a lease end that may have been given; waits for nothing."""
        call = self.call(terms.target("release"), (), {}, _lease.GOODBYE_S)
        task = asyncio.get_running_loop().create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._forgotten)

    def _forgotten(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # LeaseLost where none was given

    def close(self) -> None:
        """Closes the connections. A later call opens another."""
        own = None
        with contextlib.suppress(RuntimeError):  # no loop runs here
            own = self._channels.pop(asyncio.get_running_loop(), None)
        if own is not None:
            own.close()
        self.close_soon()

    def close_soon(self) -> None:
        """As `close`, at any time and in any thread: where a loop runs, in its next turn."""
        self.closed = True
        _close_all(self._channels)

    def begin_anew(self) -> None:
        """Forgets, in a forked child, what belongs to its parent."""
        _inherited.extend(self._channels.values())
        self._channels.clear()
        self._context = None
        self.session.begin()


def _close_all(channels: dict[asyncio.AbstractEventLoop, Channel]) -> None:
    while channels:
        loop, channel = channels.popitem()
        if loop.is_running():
            with contextlib.suppress(RuntimeError):  # it has just ended, and closed it so
                loop.call_soon_threadsafe(channel.close)
        else:
            channel.close()


_OWN = ("close", "connect", "get", "lock", "set", "steal_lock", "with_timeout")


class AsyncLease:
    """An object that nobody else may change meanwhile; made by `AsyncProxy.lock`.

    As `Lease`: it is renewed by a task until its block ends or `release`.

    taken_from: who had it before, if it was stolen; else None
    """

    def __init__(
        self, link: AsyncLink, holding: Holding, terms: _lease.Terms, op: str, timeout: float
    ) -> None:
        self.taken_from: str | None = None
        self._link = link
        self._holding = holding
        self._terms = terms
        self._op = op
        self._timeout = timeout
        self._task: asyncio.Task[None] | None = None
        self._lost = False
        self._process = os.getpid()

    @property
    def is_lost(self) -> bool:
        """Whether others may have the object, as far as is known. A call tells for certain."""
        return self._lost

    def __await__(self) -> Generator[Any, None, AsyncLease]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AsyncLease:
        terms = self._terms
        target = terms.target(self._op)
        self._renewed = time.monotonic()
        try:
            reply = await self._link.call(target, terms.args, terms.kwargs, self._timeout)
        except (asyncio.CancelledError, OutcomeUnknown):
            # It may have been given all the same, and nobody would renew or end it.
            self._link.forget(terms)
            raise
        self.taken_from = reply.get("from")
        self._holding.key = terms.key
        self._task = asyncio.get_running_loop().create_task(self._renew())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Told or not, it ends, as with an object that is gone: no reason for the program to fail.
        with contextlib.suppress(ProximityError):
            await self._release(min(self._timeout, _lease.GOODBYE_S))

    async def release(self) -> None:
        """Lets others write again; raises `LeaseLost` where they could before."""
        await self._release(self._timeout)

    async def _release(self, timeout: float) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        if self._holding.key == self._terms.key:
            self._holding.key = b""
        if self._process != os.getpid():
            return
        await self._link.call(self._terms.target("release"), (), {}, timeout)

    async def _renew(self) -> None:
        terms = self._terms
        every, target = terms.ttl / 3, terms.target("renew")
        pause = every
        while not self._lost:
            await asyncio.sleep(pause)
            asked = time.monotonic()
            left = self._renewed + terms.ttl - asked
            try:
                await self._link.call(target, terms.args, {}, max(0.001, min(every, left)))
                self._renewed, pause = asked, every
            # Whatever it is, as of a decoder of the user's: nobody would renew it any more.
            except Exception as error:
                self._lost = _lease.is_over(error, terms.ttl, self._renewed)
                pause = _lease.AGAIN_S


class AsyncProxy:
    """An object of an agent for asyncio: its methods are coroutines.

    ::

        async with AsyncProxy("tcp://colossus:5555", "srbs") as srbs:
            print(await srbs.read_uint("sys_clkcounter"))

    Entering the block, or `connect`, fetches the interface: from then on methods have signatures
    and documentation and nested objects are there. Without that, any name is taken for a method.
    Attributes are read and set with `get` and `set`.

    agent: the agent's address
    name: the object's name
    timeout: seconds that a call may take
    """

    def __init__(self, agent: str | AsyncLink, name: str, timeout: float | None = None) -> None:
        self._link = agent if isinstance(agent, AsyncLink) else AsyncLink(agent)
        self._name = object_name(name)
        self._timeout = positive(timeout, DEFAULT_TIMEOUT)
        self._interface: Interface | None = None
        self._holding = Holding()
        self._remote: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"'AsyncProxy' object has no attribute '{name}'")
        if self._interface is None:
            return self._function(Method({"name": name}))
        raise AttributeError(f"'{self._name}' has no '{name}'")

    def _function(self, method: Method) -> Callable[..., Coroutine[Any, Any, Any]]:
        link, usual = self._link, self._timeout
        target = Target("call", self._name, method.name, self._holding)
        options = frozenset(("timeout", "dtype", "progress")) - method.parameters

        async def remote(*args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in options if name in kwargs}
            timeout = positive(given.get("timeout"), usual)
            value = await link.call(target, args, kwargs, timeout, given.get("progress"))
            return client.array(value, given["dtype"]) if "dtype" in given else value

        method.dress(remote, self._name)
        return remote

    async def connect(self) -> AsyncProxy:
        """Fetches the interface, again where it may have changed; gives the proxy."""
        end = time.monotonic() + self._timeout
        objects = (await self._link.greet(self._timeout)).objects
        nested = client.nested_names(objects, self._name)
        if nested and self._name not in objects:
            interface = Interface("{}")  # no object, but the common part of some names
        else:
            interface = await self._link.describe(self._name, time_left(end))
        for name in self._remote:
            self.__dict__.pop(name, None)
        members: dict[str, Any] = {
            part: AsyncProxy(self._link, f"{self._name}.{part}", self._timeout) for part in nested
        }
        for method in interface.methods.values():
            members[method.name] = self._function(method)
        self.__dict__.update(members, _remote=frozenset(members), _interface=interface)
        return self

    async def get(self, attribute: str) -> Any:
        """Reads an attribute."""
        return await self._link.call(Target("get", self._name, attribute), (), {}, self._timeout)

    async def set(self, attribute: str, value: Any) -> None:
        """Sets an attribute."""
        target = Target("set", self._name, attribute, self._holding)
        await self._link.call(target, (value,), {}, self._timeout)

    def with_timeout(self, timeout: float) -> AsyncProxy:
        """Gives the same object with another time limit, in seconds, for each of its calls."""
        proxy = AsyncProxy(self._link, self._name, timeout)
        proxy._holding = self._holding
        return proxy

    def lock(self, ttl: float = _lease.DEFAULT_TTL, holder: str | None = None) -> AsyncLease:
        """Keeps others from writing to the object: ``async with srbs.lock(): ..``.

        As `Proxy.lock`; it begins with the block, or when it is awaited.
        """
        terms = _lease.Terms(self._name, ttl, holder)
        return AsyncLease(self._link, self._holding, terms, "lock", self._timeout)

    def steal_lock(self, ttl: float = _lease.DEFAULT_TTL, holder: str | None = None) -> AsyncLease:
        """Does as `lock`, also where somebody else has the object; see `Proxy.steal_lock`."""
        terms = _lease.Terms(self._name, ttl, holder)
        return AsyncLease(self._link, self._holding, terms, "steal", self._timeout)

    def close(self) -> None:
        """Closes the connection to the agent. Using the proxy again opens another."""
        self._link.close()

    def __dir__(self) -> list[str]:
        return sorted({*self._remote, *_OWN})

    async def __aenter__(self) -> AsyncProxy:
        return await AsyncProxy.connect(self)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        AsyncProxy.close(self)

    def __repr__(self) -> str:
        return f"<AsyncProxy '{self._name}' at {self._link.session.url}>"


# The event loop behind call_async and broadcast: one thread, started when first asked for.
_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_async_links: weakref.WeakKeyDictionary[_link.Link, AsyncLink] = weakref.WeakKeyDictionary()


def _after_fork() -> None:
    global _loop, _lock
    _loop, _lock = None, threading.Lock()
    for link in _links:
        link.begin_anew()
    _async_links.clear()


os.register_at_fork(after_in_child=_after_fork)


def _background() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is None:
        loop = asyncio.new_event_loop()
        try:
            threading.Thread(target=loop.run_forever, name="proximity", daemon=True).start()
        except BaseException:
            loop.close()
            raise
        _loop = loop
    return _loop


def submit(
    link: _link.Link,
    target: Target,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    timeout: float,
) -> concurrent.futures.Future[Any]:
    """Begins a call that runs beside the caller; gives its future."""
    with _lock:
        loop = _background()
        beside = _async_links.get(link)
        if beside is None or beside.closed:
            beside = _async_links[link] = AsyncLink(link.url, link.context)
            # Outlives neither its link nor the link's close().
            link.closers.append(beside.close_soon)
    future = asyncio.run_coroutine_threadsafe(beside.call(target, args, kwargs, timeout), loop)
    # The call outlives a proxy that its caller has dropped.
    future.add_done_callback(lambda _: link)
    return future
