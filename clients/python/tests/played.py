"""An agent that does as a test says, on a ROUTER socket of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

CHUNK = 1000
INTERFACE = """{"name": "foo", "hash": 1, "methods": [
    {"name": "look", "effect": "read"}, {"name": "push", "effect": "write"},
    {"name": "read", "effect": "read"}]}"""


class Asked:
    """One request, and the ways to answer it."""

    def __init__(self, agent: Played, envelope: list[bytes], request: dict[str, Any]) -> None:
        self.agent, self.envelope, self.request = agent, envelope, request
        self.op, self.proc = request["op"], request["proc"]
        self.number: int = request["id"][1]

    def send(self, **keys: Any) -> None:
        message = {"v": 2, "id": self.request["id"], "epoch": self.agent.epoch, **keys}
        packed = msgpack.packb(message)
        assert packed is not None
        self.agent.socket.send_multipart([*self.envelope, packed])

    def refuse(self, reason: str | None, executed: str = "no", **more: Any) -> None:
        error = {"class": "RuntimeError", "message": "refused", "detail": [], "hint": None}
        self.send(error={**error, "executed": executed, "reason": reason, **more})


class Played(threading.Thread):
    """Answers hello and describe itself, refuses what is for another run, logs the rest."""

    def __init__(
        self,
        answer: Callable[[Asked], object],
        features: tuple[str, ...] = (),
        epoch: int = 1,
        url: str = "tcp://127.0.0.1:*",
    ) -> None:
        super().__init__(daemon=True)
        self.answer, self.features, self.epoch = answer, features, epoch
        self.calls: list[tuple[str, int, int]] = []
        # What came with an empty frame before it.
        self.delimited: list[str] = []
        self.greeted = 0
        self._done = threading.Event()
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 10)
        end = time.monotonic() + 5
        while True:
            try:
                self.socket.bind(url)
                break
            except zmq.ZMQError:  # the port of one that has just ended is free a moment later
                assert time.monotonic() < end
        self.url = self.socket.getsockopt(zmq.LAST_ENDPOINT).decode().rstrip("\0")
        self.start()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                *envelope, data = self.socket.recv_multipart()
            except zmq.Again:
                continue
            asked = Asked(self, envelope, msgpack.unpackb(data))
            if len(envelope) > 1:
                self.delimited.append(asked.op)
            if asked.op == "hello":
                self.greeted += 1
                limits = {"max_frame": 1 << 20, "max_inflight": 32, "chunk": CHUNK}
                now = int(time.monotonic() * 1000)
                hello = {"epoch": self.epoch, "now": now, "objects": {"foo": 1}}
                asked.send(ok={**hello, "limits": limits, "features": self.features})
            elif asked.op == "describe":
                asked.send(ok=INTERFACE)
            elif asked.op == "cancel":
                asked.send(ok="unknown")
            elif asked.op != "credit" and asked.request["epoch"] != self.epoch:
                asked.refuse("StaleEpoch")
            else:
                self.calls.append((asked.proc, asked.number, self.epoch))
                self.answer(asked)
        self._context.destroy(0)

    def stop(self) -> str:
        self._done.set()
        self.join()
        return self.url

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
