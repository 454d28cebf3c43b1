"""The other side: exposes Python objects to the clients of an agent, and to the original's."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import difflib
import inspect
import queue
import random
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import zmq

from . import _codec
from ._expose import Exposed, WrongArgumentsError, effect
from ._request import MAX_NAME, Fault, Request, fault_of

__all__ = ["Server", "effect"]

QUEUE = 32
"""Calls that may wait for one object. The next is refused at once."""

# Seconds that a stopping server gives the methods that run.
_GRACE_S = 1.0
# Seconds after which a stopping server looks again whether they have ended.
_LOOK_S = 0.02
# Seconds for clients to read the last replies: libzmq drops what a socket with IMMEDIATE, as theirs
# are, has not read when its connection ends.
_PARTING_S = 0.05
# Milliseconds that the last replies may take to leave.
_LINGER_MS = 500
# A peer that does not finish its handshake in this time is dropped.
_HANDSHAKE_MS = 3000
# Replies that may wait for one peer that does not read them.
_PEER_QUEUE = 64
# Bytes from which on it is worth not to copy a reply.
_LARGE = 64 << 10
# What a message may be longer than the data in it.
_SLACK = 64 << 10
CANCELLED: Fault = ("RuntimeError", "the call was cancelled", [], None)
STALE: Fault = ("RuntimeError", "the call was made for an earlier run of the server", [], None)
EXPIRED: Fault = ("TimeoutError", "the call's time was over before its method could run", [], None)
_BUSY_HINT = "calls wait in a queue that is full; try again when the object has answered some"


class Server:
    """Exposes Python objects on a ZeroMQ socket, on the wire of a Proximity agent.

    ::

        server = Server("tcp://127.0.0.1:5555")
        server.expose("foo", Foo())
        server.run()

    Each object has a thread of its own: a method that takes long delays no other object, and nobody
    who asks what there is. Every request gets exactly one reply. Whoever can reach the address can
    call everything: listen on the loopback, or where only friends are.

    url: where to listen; port 0 or ``*`` takes any that is free, and `url` then tells which
    name: what the server calls itself to clients
    max_frame: bytes of the largest request
    """

    def __init__(
        self,
        url: str = "tcp://127.0.0.1:5555",
        *,
        context: zmq.Context[Any] | None = None,
        name: str = "python",
        max_frame: int = _codec.MAX_FRAME,
    ) -> None:
        self.name = name
        self.epoch = random.SystemRandom().getrandbits(63) | 1
        self.max_frame = max_frame
        self.undeliverable = 0
        self._packer = _codec.Packer()
        self._workers: dict[str, _Worker] = {}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._serving = False
        self._context = context or zmq.Context.instance()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        # Workers put their answers here, and ring.
        self.answered: collections.deque[list[bytes]] = collections.deque()
        self._bell: zmq.Socket[bytes] = self._context.socket(zmq.PULL)
        for option, value in (
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.HANDSHAKE_IVL, _HANDSHAKE_MS),
            (zmq.MAXMSGSIZE, max_frame + _SLACK),
            (zmq.SNDHWM, _PEER_QUEUE),
            (zmq.LINGER, _LINGER_MS),
        ):
            self._socket.setsockopt(option, value)
        self._inside = f"inproc://proximity-server-{id(self)}-{self.epoch}"
        try:
            self._socket.bind(url)
        except zmq.ZMQError:
            self._socket.close(0)
            self._bell.close(0)
            raise
        self._bell.bind(self._inside)
        self.url: str = self._socket.getsockopt(zmq.LAST_ENDPOINT).rstrip(b"\0").decode()

    def expose(
        self,
        name: str,
        target: Any,
        *,
        attributes: bool = False,
        include: str | None = None,
        exclude: str | None = None,
    ) -> None:
        """Publishes the public methods of `target` under `name`, which may be dotted.

        attributes: publish its attributes and properties too
        include: regular expression for whole names of methods and attributes; all if left out
        exclude: regular expression for whole names to leave out; wins over `include`

        What is left out, or has a name with a leading underscore, can neither be seen nor called.
        """
        # One that no client could read would keep them from all others too.
        if not isinstance(name, str):
            raise TypeError(f"an object's name is text, not {type(name).__name__}")
        if not 0 < len(name.encode()) <= MAX_NAME:
            raise ValueError(f"an object's name has 1 to {MAX_NAME} bytes; it is {name!r:.40}")
        if name in self._workers:
            raise ValueError(f"there is an object '{name}' already")
        exposed = Exposed(name, target, attributes, include, exclude)
        self._workers[name] = _Worker(exposed, self)

    # Running.

    def run(self, watchdog: Callable[[], object] | None = None, interval: float = 1.0) -> None:
        """Serves until `stop`, in this thread; then answers what waits and closes the socket.

        watchdog: called every `interval` seconds for as long as the server serves
        """
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._bell, zmq.POLLIN)
        next_watch = time.monotonic()
        self._serving = True
        try:
            while not self._stop.is_set():
                wait: int | None = None
                if watchdog is not None:
                    if time.monotonic() >= next_watch:
                        watchdog()
                        next_watch = time.monotonic() + interval
                    wait = _ms(next_watch - time.monotonic())
                for socket, _ in poller.poll(wait):
                    if socket is self._bell:
                        self._forward()
                    else:
                        self._receive()
        finally:
            self._drain()

    def start(self) -> Server:
        """Serves in a thread of its own; gives the server."""
        self._serving = True
        self._thread = threading.Thread(target=self.run, name=f"serve {self.url}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops serving: calls that wait are told so, those that run have a second to end."""
        if self._stop.is_set():
            return
        self._stop.set()
        if not self._serving:
            self._drain()
            return
        with contextlib.suppress(zmq.ZMQError), self.bell() as bell:
            bell.send(b"", zmq.DONTWAIT)  # it may have ended meanwhile
        own = [worker.thread for worker in self._workers.values()]
        if self._thread is not None and threading.current_thread() not in (self._thread, *own):
            self._thread.join()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server at {self.url}: {', '.join(self._workers)}>"

    def bell(self) -> zmq.Socket[bytes]:
        """Makes a socket with which another thread wakes the one that serves."""
        socket: zmq.Socket[bytes] = self._context.socket(zmq.PUSH)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.connect(self._inside)
        return socket

    def _drain(self) -> None:
        """Answers every request that came and has not been, and closes."""
        self._stop.set()
        if self._socket.closed:
            return
        until = time.monotonic() + _GRACE_S
        draining: Fault = ("RuntimeError", "the server is stopping", [], None)
        for worker in self._workers.values():
            for request in worker.finish():
                self._refuse(request, draining, "Draining")
        while time.monotonic() < until and self._socket.poll(0):
            self._refuse(self._request(), draining, "Draining")
        while (left := until - time.monotonic()) > 0 and any(
            w.running for w in self._workers.values()
        ):
            if self._bell.poll(_ms(min(left, _LOOK_S))):
                self._forward()
        for worker in self._workers.values():
            unfinished = worker.give_up()
            if unfinished is not None:
                fault: Fault = ("RuntimeError", "the server stopped while the method ran", [], None)
                self._refuse(unfinished, fault, "Draining", "unknown")
        while self._bell.poll(0):
            self._forward()
        time.sleep(_PARTING_S)
        self._socket.close()
        self._bell.close(0)

    # Messages.

    def _forward(self) -> None:
        """Sends what workers have answered."""
        self._bell.recv()
        while self.answered:
            self._send(self.answered.popleft())

    def _send(self, frames: list[bytes]) -> None:
        try:
            # Large replies are not copied on their way out.
            copied = len(frames[-1]) < _LARGE
            self._socket.send_multipart(frames, zmq.DONTWAIT, copied)
        except zmq.ZMQError:  # the peer has gone, or reads nothing
            self.undeliverable += 1

    def _receive(self) -> None:
        request = self._request()
        try:
            self._take(request)
        except Exception as error:  # the server's own mistake must not end it
            self._refuse(request, fault_of(error))

    def _request(self) -> Request:
        frames = self._socket.recv_multipart()
        # An envelope is the peer, and the empty delimiter where it sent one.
        size = 2 if len(frames) > 2 and not frames[1] else 1
        return Request(frames[:size], frames[size] if len(frames) == size + 1 else b"")

    def _take(self, request: Request) -> None:
        """Answers a request, or hands it to its object."""
        if request.bad is not None:
            kind, message, detail, hint = request.bad.fault
            if request.version == 1 and request.bad.original is not None:
                message = repr(request.bad.original)
            self._refuse(request, (kind, message, detail, hint))
        elif request.op == "hello":
            self._answer(request, self._hello())
        elif request.op == "cancel":
            self._cancel(request)
        elif request.name not in self._workers:
            self._no_object(request)
        elif request.op == "describe":
            self._answer(request, self._workers[request.name].exposed.describe())
        elif request.version == 1 and request.proc == "list_methods":
            self._answer(request, self._workers[request.name].exposed.list_methods())
        else:
            self._queue(request, self._workers[request.name])

    def _queue(self, request: Request, worker: _Worker) -> None:
        members: Iterable[str] = worker.exposed.methods
        if request.op in ("get", "set"):
            members = worker.exposed.attributes
        if request.proc not in members:
            what = "method" if request.op == "call" else "attribute"
            self._unknown(request, "AttributeError", f"no {what} '{request.proc}'", members)
        elif request.version == 2 and request.epoch != self.epoch:
            self._refuse(request, STALE, "StaleEpoch")
        elif request.expires is not None and self.now() > request.expires:
            self._refuse(request, EXPIRED, "Expired")
        elif not worker.put(request):
            message = f"object '{request.name}' is busy: its queue of {QUEUE} calls is full"
            self._refuse(request, ("RuntimeError", message, [], _BUSY_HINT), "Busy")

    def _hello(self) -> dict[str, Any]:
        from . import __version__

        return {
            "epoch": self.epoch,
            "now": self.now(),
            "agent": self.name,
            "version": __version__,
            "limits": {
                "max_frame": self.max_frame,
                "max_items": _codec.MAX_ITEMS,
                "max_inflight": QUEUE,
                "chunk": 0,
            },
            "features": [],
            "objects": {name: worker.exposed.hash for name, worker in self._workers.items()},
        }

    def _cancel(self, request: Request) -> None:
        identity = request.args[0] if len(request.args) == 1 else None
        if not (isinstance(identity, list) and len(identity) == 2):
            message = "cancel takes the id of a call, [bytes(16), int]"
            self._refuse(request, ("TypeError", message, [], None))
            return
        cancelled, key = None, (identity[0], identity[1])
        for worker in self._workers.values():
            cancelled = cancelled or worker.cancel(key)
        if cancelled is not None:
            self._refuse(cancelled, CANCELLED, "Cancelled")
        running = any(worker.runs(key) for worker in self._workers.values())
        unqueued = "running" if running else "unknown"
        self._answer(request, "queued" if cancelled is not None else unqueued)

    def _no_object(self, request: Request) -> None:
        if request.version == 1 and request.proc == "list_methods":
            # No exception: this is how the original says it.
            self._answer(request, ["Interface error", repr(request.name)])
            return
        message = f"no object '{request.name}'; this agent has: {', '.join(self._workers)}"
        self._unknown(request, "KeyError", message, self._workers)

    def _unknown(self, request: Request, kind: str, message: str, known: Iterable[str]) -> None:
        """Refuses a name that is none; version 1 gets the original's words for it."""
        asked = request.name if kind == "KeyError" else request.proc
        near = difflib.get_close_matches(asked, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else None
        if request.version == 1:
            self._refuse(request, ("KeyError", repr(asked), [message], hint))
        else:
            self._refuse(request, (kind, message, [], hint))

    def _answer(self, request: Request, value: Any) -> None:
        self._send([*request.envelope, request.ok(self._packer, self.epoch, value)])

    def _refuse(
        self,
        request: Request,
        fault: Fault,
        reason: str | None = None,
        executed: str = "no",
    ) -> None:
        data = request.error(self._packer, self.epoch, fault, executed, reason)
        self._send([*request.envelope, data])

    @staticmethod
    def now() -> int:
        """The server's clock, in milliseconds."""
        return int(time.monotonic() * 1000)


class _Worker:
    """An object, the calls that wait for it, and the thread that runs them."""

    def __init__(self, exposed: Exposed, server: Server) -> None:
        self.exposed = exposed
        self.running: Request | None = None
        self._server = server
        self._packer = _codec.Packer()
        # Guards who answers a call: it is in `_waiting`, then `running`, then answered.
        self._lock = threading.Lock()
        self._waiting: list[Request] = []
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self.thread: threading.Thread | None = None

    # For the thread that serves.

    def put(self, request: Request) -> bool:
        """Queues a call, unless the queue is full."""
        with self._lock:
            if len(self._waiting) >= QUEUE:
                return False
            self._waiting.append(request)
        self._queue.put(request)
        if self.thread is None:
            name = f"object {self.exposed.name}"
            self.thread = threading.Thread(target=self._run, name=name, daemon=True)
            self.thread.start()
        return True

    def cancel(self, key: tuple[Any, Any]) -> Request | None:
        """Gives the call of that id, if it still waits; it will not run."""
        with self._lock:
            for request in self._waiting:
                if request.id is not None and request.key == key:
                    self._waiting.remove(request)
                    return request
        return None

    def runs(self, key: tuple[Any, Any]) -> bool:
        """Whether the call of that id is the one that runs."""
        request = self.running
        return request is not None and request.id is not None and request.key == key

    def finish(self) -> list[Request]:
        """Ends the thread behind what runs; gives the calls that will not run."""
        self._queue.put(None)
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return waiting

    def give_up(self) -> Request | None:
        """Gives the call that still runs; its result will not be sent."""
        with self._lock:
            request, self.running = self.running, None
        return request

    # For the object's own thread.

    def _run(self) -> None:
        with self._server.bell() as bell:
            while (request := self._queue.get()) is not None:
                with self._lock:
                    if request not in self._waiting:
                        continue
                    self._waiting.remove(request)
                    self.running = request
                frames = [*request.envelope, self._execute(request)]
                with self._lock:
                    if self.running is request:
                        self._server.answered.append(frames)
                        bell.send(b"")
                        self.running = None
                # The call's arguments and result are not kept until the next one.
                del request, frames

    def _execute(self, request: Request) -> bytes:
        """Runs a call and gives the bytes of its reply, whatever happens."""
        epoch, pack = self._server.epoch, self._packer
        if request.expires is not None and Server.now() > request.expires:
            return request.error(pack, epoch, EXPIRED, "no", "Expired")
        try:
            value = self._value(request)
        except WrongArgumentsError as error:
            return request.error(pack, epoch, ("TypeError", str(error), [], None), "no")
        except _ReadOnlyError as error:
            return request.error(pack, epoch, ("AttributeError", str(error), [], None), "no")
        except BaseException as error:  # sys.exit() in a method too is an answer
            return request.error(pack, epoch, fault_of(error), "yes")
        try:
            return request.ok(pack, epoch, value)
        except Exception as error:  # the value's class may be anybody's
            what = f"{request.name}.{request.proc} returned what cannot be sent: {error}"
            return request.error(pack, epoch, ("TypeError", what, [], None), "yes")

    def _value(self, request: Request) -> Any:
        target, name, args = self.exposed.target, request.proc, request.args
        if request.op == "call":
            value = self.exposed.methods[name].call(args, request.kwargs)
            # An async method runs to its end, as any other.
            return asyncio.run(value) if inspect.iscoroutine(value) else value
        wanted = 1 if request.op == "set" else 0
        if len(args) != wanted or request.kwargs:
            raise WrongArgumentsError(f"{request.op} of an attribute takes {wanted} arguments")
        if request.op == "get":
            return getattr(target, name)
        if not self.exposed.attributes[name]["settable"]:
            raise _ReadOnlyError(f"attribute '{name}' can only be read")
        setattr(target, name, args[0])
        return None


class _ReadOnlyError(AttributeError):
    pass


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
