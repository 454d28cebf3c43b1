"""One socket to an agent: how it connects, and what it tells of that."""

from __future__ import annotations

import errno
import itertools
import os
import random
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any

import zmq

from .errors import NotSent, call_error

RECONNECT_FIRST_MS, RECONNECT_MOST_MS = (200, 300), (750, 1000)
"""How soon libzmq tries again to connect: at first, and after many failures. Each connection has
times of its own from these, or all clients of an agent that died would come at the same time.
libzmq begins with the first again where a connection is taken and closed, as by a tunnel whose far
end is away: those are not to come by the hundred."""

HURRIED_FIRST_MS = (7, 13)
"""The first pause of a connection that is begun in a hurry."""

HURRY_S, HURRY_PAUSE_S = 0.15, 0.025
"""For so long after a loss a connection is begun anew at such intervals: a restarted agent is back
after some tens of milliseconds, and libzmq's own pauses double from the first."""

GIVEN_UP_S = (4.0, 8.0)
"""libzmq itself connects again where a connection ends, but not where it understood nothing of what
came over it: a garbled handshake, or another program at the agent's port. It does not tell which it
was, so so many seconds after a connection ended, and none was begun, one is begun anew: longer than
libzmq's pause and the attempt after it, and not by all clients at once."""

# Milliseconds that an attempt to connect may take, and then the handshake, before the next attempt.
_PATIENCE_MS = 3000

# Seconds until an idle connection is asked whether it still stands, between two such questions, and
# how many may stay unanswered: one to a machine that was switched off is noticed after 19 s.
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 10, 3, 3

TAKEN, UP, DOWN = (
    int(event)
    for event in (zmq.EVENT_CONNECTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED)
)
"""What a monitor tells: the agent's machine takes a connection, it stands, it is lost."""


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


# Contexts of their own for so many hosts: each costs five descriptors for as long as the process
# lives, and two threads.
_MOST_NAMES = 16
_contexts: dict[str, zmq.Context[Any]] = {}
_contexts_lock = threading.Lock()
# Those of a process before it forked: its child must neither use nor end them.
_inherited: list[object] = []


def _after_fork() -> None:
    global _contexts, _contexts_lock
    _inherited.append(_contexts)
    _contexts, _contexts_lock = {}, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def context_for(url: str) -> zmq.Context[Any]:
    """Gives the ZeroMQ context of this process for an agent.

    libzmq looks a host's name up in its context's only I/O thread, which does nothing else for the
    seconds that this takes where no server of names answers. So each name has a context of its own,
    as long as they are few, and it is never ended, which would wait for the same.
    """
    host = re.sub(r"^tcp://(?:\S+;)?|:\d+$", "", url)
    if re.search(r"^[\d.]+$|[\[/]", host):  # an address in numbers, or a path
        return zmq.Context.instance()
    with _contexts_lock:
        context = _contexts.get(host)
        if context is None and len(_contexts) < _MOST_NAMES and _has_room():
            context = _contexts[host] = zmq.Context()
            context.socket(zmq.PAIR).close(0)  # which starts its threads, while there is room
        return context or zmq.Context.instance()


def _has_room() -> bool:
    """Whether there are descriptors for a context: libzmq ends the program where there are none."""
    probes: list[int] = []
    try:
        while len(probes) < 16:
            probes.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        return False
    finally:
        for probe in probes:
            os.close(probe)
    return True


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
