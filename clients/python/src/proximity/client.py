"""Agents and their objects, as if they were local."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import zmq

from ._lease import DEFAULT_TTL, Lease, LeaseInfo, Terms, listed
from ._link import NO_KWARGS, Link
from ._session import DEFAULT_TIMEOUT, MAX_REPLY, Holding, Target, object_name, positive, time_left
from .errors import CallError, RemoteError
from .interface import Interface, Method

if TYPE_CHECKING:
    import concurrent.futures

    from .many import Batch

# Seconds that looking around (Tab, a name that may be new) may wait for an agent that is away.
_LOOK_S = 1.0


class Proxy:
    """An object of an agent, as if it were local.

    Its methods are Python functions with the object's own signatures and documentation, its
    attributes are read and set as attributes, and objects with dotted names are found inside it.
    Making a proxy waits for nothing; the first use does. An agent that restarts is found again, and
    an interface that has changed is taken over.

    Every method also takes ``timeout=``, seconds for this one call, ``dtype=``, the kind of numpy
    array to make of the bytes that it returns, and ``progress=``, a function of (done, total, text)
    that is told how far it has come, unless it has a parameter of that name itself.

    A method or nested object with the name of one below hides it; ``Proxy.batch(obj)`` finds it.

    agent: the agent's address, as ``tcp://host:5555`` or only ``host``, or an `Agent`
    name: the object's name
    timeout: seconds that a call may take
    """

    _interface: Interface | None
    _nested: frozenset[str]
    _holding: Holding

    def __init__(self, agent: str | Agent | Link, name: str, timeout: float | None = None) -> None:
        link = agent._link if isinstance(agent, Agent) else agent
        if not isinstance(link, Link):
            link = Link(link)
        self.__dict__.update(
            _link=link,
            _name=object_name(name),
            _timeout=positive(timeout, DEFAULT_TIMEOUT),
            _lock=threading.RLock(),
            _interface=None,
            _remote=frozenset(),
            _nested=frozenset(),
            _holding=Holding(),
        )
        link.note(self)

    # What the object itself has. Frames that say __tracebackhide__ are between a person and his
    # mistake: IPython and pytest leave them out.

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        # IPython, copy and pickle look for many of these, and no object publishes one.
        if name.startswith("_"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        end = time.monotonic() + self._timeout
        for known in (True, False):
            if not known:
                # It may be new. An agent that is away is no reason to wait for long.
                with contextlib.suppress(CallError):
                    self._link.greet(min(time_left(end), _LOOK_S))
            interface = self._load(end)
            if name in interface.attributes:
                get = Target("get", self._name, name)
                return self._link.call(get, (), NO_KWARGS, time_left(end))
            if name in self.__dict__:
                return self.__dict__[name]
        raise _no_attribute(name, self._no_such(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise AttributeError(f"a proxy keeps no attributes of its own: '{name}'")
        __tracebackhide__ = True
        end = time.monotonic() + self._timeout
        interface = self._load(end)
        if name not in interface.attributes:
            if name in self._remote:
                raise AttributeError(f"'{name}' of '{self._name}' is no attribute that can be set")
            raise _no_attribute(name, self._no_such(name))
        target = Target("set", self._name, name, self._holding)
        self._link.call(target, (value,), NO_KWARGS, time_left(end))

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"nothing of '{self._name}' can be deleted: '{name}'")

    def __dir__(self) -> list[str]:
        with contextlib.suppress(CallError, RemoteError):
            interface = self._load(time.monotonic() + min(self._timeout, _LOOK_S))
            return sorted({*self._remote, *interface.attributes})
        return []

    def _load(self, end: float) -> Interface:
        """Gives the interface, after fetching it until time `end` where it is not known."""
        __tracebackhide__ = True
        interface = self._interface
        if interface is not None:
            return interface
        began, lock = time.monotonic(), self._lock
        if not lock.acquire(timeout=time_left(end)):
            raise self._link.session.not_asked(self._name, end - began)
        try:
            if self._interface is None:
                self._build(end)
            assert self._interface is not None
            return self._interface
        finally:
            lock.release()

    def _begin_anew(self) -> None:
        """Forgets, in a forked child, the lock that a thread of its parent may have."""
        self.__dict__["_lock"] = threading.RLock()

    def _build(self, end: float) -> None:
        """Fetches the interface and makes functions of it."""
        __tracebackhide__ = True
        link, name = self._link, self._name
        if not link.session.objects:
            link.greet(time_left(end))
        objects = link.session.objects
        nested = nested_names(objects, name)
        if nested and name not in objects:
            interface = Interface("{}")  # no object, but the common part of some names
        else:
            interface = link.describe(name, time_left(end))
        members: dict[str, Any] = {
            part: Proxy(link, f"{name}.{part}", self._timeout) for part in nested
        }
        for method in interface.methods.values():
            members[method.name] = self._function(method)
        for attribute in interface.attributes:
            members.pop(attribute, None)
        self.__dict__.update(members)
        self.__dict__.update(_remote=frozenset(members), _nested=nested, _interface=interface)

    def _function(self, method: Method) -> Callable[..., Any]:
        """Makes the function that calls `method`."""
        link, usual = self._link, self._timeout
        target = Target("call", self._name, method.name, self._holding)
        options = frozenset(("timeout", "dtype", "progress")) - method.parameters

        def remote(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            if not kwargs:
                return link.call(target, args, kwargs, usual)
            given = {name: kwargs.pop(name) for name in options if name in kwargs}
            timeout = positive(given.get("timeout"), usual)
            value = link.call(target, args, kwargs, timeout, given.get("progress"))
            return array(value, given["dtype"]) if "dtype" in given else value

        remote.__dict__["_target"] = target
        return method.dress(remote, self._name)

    def _forget_if_changed(self, objects: Mapping[str, int]) -> None:
        """Drops an interface that is not the agent's any more; the next use fetches the new one."""
        interface = self._interface
        if interface is None or (
            objects.get(self._name) == interface.hash
            and nested_names(objects, self._name) == self._nested
        ):
            return
        with self._lock:
            for name in self._remote:
                self.__dict__.pop(name, None)
            self.__dict__.update(_interface=None, _remote=frozenset())

    def _no_such(self, name: str) -> str:
        known = dir(self)
        near = nearest(name, known)
        if near:
            return f"'{self._name}' has no '{name}'; did you mean '{near}'?"
        few = f"; it has: {', '.join(known)}" if 0 < len(known) <= 12 else ""
        return f"'{self._name}' has no '{name}'{few}"

    # What the proxy adds.

    def with_timeout(self, timeout: float) -> Proxy:
        """Gives the same object with another time limit, in seconds, for each of its calls."""
        proxy = Proxy(self._link, self._name, timeout)
        proxy.__dict__["_holding"] = self._holding
        return proxy

    def lock(self, ttl: float = DEFAULT_TTL, holder: str | None = None) -> Lease:
        """Keeps others from writing to the object.

        ::

            with srbs.lock():
                srbs.write_int("sys_scratchpad", 1)

        Until the block ends, or `Lease.release`, only calls through this proxy change anything;
        calls through others raise `Locked`. Reads are free. It does not wait where somebody else
        has the object, and is renewed as long as this program lives.

        ttl: seconds, 1 to 300, after which others may write again when this program has died
        holder: as whom others see it; user@host if None
        """
        return self._leased("lock", ttl, holder)

    def steal_lock(self, ttl: float = DEFAULT_TTL, holder: str | None = None) -> Lease:
        """Does as `lock`, also where somebody else has the object: his writes fail from now on.

        Allowed to those who call from the agent's own machine.
        """
        return self._leased("steal", ttl, holder)

    def _leased(self, op: str, ttl: float, holder: str | None) -> Lease:
        terms = Terms(self._name, ttl, holder)
        return Lease(self._link, self._holding, terms, op, self._timeout)

    def call_async(self, method: str, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Begins a call and gives its future; `timeout=` counts from now."""
        from .aio import submit

        timeout = positive(kwargs.pop("timeout", None), self._timeout)
        target = Target("call", self._name, method, self._holding)
        return submit(self._link, target, args, kwargs, timeout)

    def batch(self, timeout: float | None = None) -> Batch:
        """Begins a batch: calls that are sent together when its ``with`` block ends."""
        from .many import Batch

        return Batch(self, positive(timeout, self._timeout))

    def close(self) -> None:
        """Closes the connections to the agent. Using the proxy again opens others."""
        self._link.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        Proxy.close(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, here or in another process, has connections of its own.
        return (Proxy, (self._link.url, self._name, self._timeout))

    def _facts(self) -> list[tuple[str, str]]:
        interface = self._interface
        facts = [("agent", self._link.url), ("object", self._name), ("state", self._link.state)]
        if interface is not None:
            facts.append(("methods", str(len(interface.methods))))
            facts.append(("attributes", str(len(interface.attributes))))
        return facts

    def __repr__(self) -> str:
        return f"<Proxy '{self._name}' at {self._link.url}: {self._link.state}>"

    def _repr_html_(self) -> str:
        return _table(self._facts(), self._interface)


class Agent:
    """An agent and its objects: ``agent.srbs`` and ``agent["srbs"]`` give proxies.

    ``list(agent)`` gives the objects' names, ``len(agent)`` their number.

    url: the agent's address, as ``tcp://host:5555`` or only ``host``
    timeout: seconds that a call may take
    max_reply: bytes that a result may have; large ones come in chunks as fast as they are taken
    """

    def __init__(
        self,
        url: str,
        timeout: float | None = None,
        *,
        context: zmq.Context[Any] | None = None,
        max_reply: int = MAX_REPLY,
    ) -> None:
        self._link = Link(url, context)
        self._link.session.max_reply = max_reply
        self._timeout = positive(timeout, DEFAULT_TIMEOUT)
        self._proxies: dict[str, Proxy] = {}

    def hello(self) -> dict[str, Any]:
        """Asks the agent for its name, version, epoch, clock, limits and objects."""
        return dict(self._link.greet(self._timeout).agent)

    def status(self) -> dict[str, Any]:
        """Asks how the agent and its objects are; answered whatever the objects do.

        Gives ``{"agent": {...}, "objects": {name: {"state": ..., ...}}}``; times are in
        milliseconds, latencies in microseconds.
        """
        told: dict[str, Any] = self._link.call(Target("status", ""), (), NO_KWARGS, self._timeout)
        return told

    def log_level(self, level: str | None = None) -> str:
        """Tells what the agent logs: off, error, warn, info, debug or trace.

        level: what it logs from now on, until it reads its configuration again; None changes
            nothing. May be set from the agent's own machine, and not where RUST_LOG set it.
        """
        args = () if level is None else (level,)
        return str(self._link.call(Target("log"), args, NO_KWARGS, self._timeout))

    def describe(self, name: str) -> dict[str, Any]:
        """Gives the interface definition of an object."""
        return self._link.describe(name, self._timeout).described

    def leases(self) -> list[LeaseInfo]:
        """Tells who has which object for himself."""
        return listed(self._link.call(Target("leases"), (), NO_KWARGS, self._timeout))

    def proxy(self, name: str, timeout: float | None = None) -> Proxy:
        """Gives the object of that name, without asking whether there is one."""
        return Proxy(self._link, name, positive(timeout, self._timeout))

    def close(self) -> None:
        """Closes the connections to the agent. Using it again opens others."""
        self._link.close()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._link.greet(self._timeout).objects))

    def __len__(self) -> int:
        return len(self._link.greet(self._timeout).objects)

    def __contains__(self, name: object) -> bool:
        return name in self._link.greet(self._timeout).objects

    def __getitem__(self, name: str) -> Proxy:
        try:
            return self._proxies[name]
        except KeyError:
            return self._proxies.setdefault(name, self.proxy(name))

    def __getattr__(self, name: str) -> Proxy:
        if name.startswith("_"):
            raise AttributeError(f"'Agent' object has no attribute '{name}'")
        if name in self._proxies:
            return self._proxies[name]
        objects = self._link.greet(self._timeout).objects
        if name in objects or any(known.startswith(name + ".") for known in objects):
            return self[name]
        near = nearest(name, objects)
        more = f"did you mean '{near}'?" if near else f"it has: {', '.join(sorted(objects))}"
        raise _no_attribute(name, f"{self._link.url} has no object '{name}'; {more}")

    def __dir__(self) -> list[str]:
        names: set[str] = set()
        with contextlib.suppress(CallError):
            session = self._link.session
            if not session.objects:
                self._link.greet(min(self._timeout, _LOOK_S))
            names = {name.split(".")[0] for name in session.objects}
        own = ("close", "describe", "hello", "leases", "log_level", "proxy", "status")
        return sorted({*names, *own})

    def _ipython_key_completions_(self) -> list[str]:
        return sorted(self._link.session.objects)

    def __enter__(self) -> Agent:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Agent, (self._link.url, self._timeout))

    def __repr__(self) -> str:
        return f"<Agent at {self._link.url}: {self._link.state}>"

    def _repr_html_(self) -> str:
        objects = ", ".join(sorted(self._link.session.objects))
        return _table(
            [("agent", self._link.url), ("state", self._link.state), ("objects", objects)]
        )


def _no_attribute(name: str, message: str) -> AttributeError:
    error = AttributeError(message)
    # Else Python 3.12 and later say once more what was meant.
    error.name = name
    return error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Gives the name that was most likely meant."""
    import difflib

    return next(iter(difflib.get_close_matches(name, known, 1)), None)


def nested_names(objects: Iterable[str], name: str) -> frozenset[str]:
    """Gives what comes right behind `name` and a dot in the objects' names."""
    inside = name + "."
    return frozenset(
        known[len(inside) :].split(".")[0] for known in objects if known.startswith(inside)
    )


def array(value: Any, dtype: Any) -> Any:
    """Gives bytes as a numpy array of `dtype`, which for FPGA words is big-endian, as ``>u4``."""
    import numpy

    if not isinstance(value, bytes):
        raise TypeError(f"dtype= is for methods that return bytes, not {type(value).__name__}")
    return numpy.frombuffer(value, dtype)


def _table(facts: Sequence[tuple[str, str]], interface: Interface | None = None) -> str:
    import html

    rows = [f"<tr><th>{name}</th><td>{html.escape(value)}</td></tr>" for name, value in facts]
    if interface is not None:
        for method in interface.methods.values():
            cells = (f"{method.name}{method.signature}", interface.summary(method.name))
            first, second = (html.escape(cell) for cell in cells)
            rows.append(f"<tr><td><code>{first}</code></td><td>{second}</td></tr>")
    return f"<table>{''.join(rows)}</table>"
