"""What the tests share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

# A shell starts what it runs in the background with SIGINT ignored, and what these tests start
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path[:0] = [str(SOURCE), str(Path(__file__).parent)]
# For the processes that tests start.
os.environ["PYTHONPATH"] = os.pathsep.join((str(SOURCE), os.environ.get("PYTHONPATH", "")))

from objects import Bench
from proximity import Agent, Proxy, Server, aio

ROOT = Path(__file__).resolve().parents[3]
LOOPBACK = "tcp://127.0.0.1:*"


# The versions that the package promises, as far as they are released.
MINORS = range(9, 15)


def interpreter(minor: int) -> str | None:
    """Finds Python 3.`minor`: this one, on the path, or where pyenv keeps them."""
    if minor == sys.version_info[1]:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    kept = sorted(str(path) for path in pyenv.glob(f"versions/3.{minor}.*/bin/python3"))
    script = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for python in (shutil.which(f"python3.{minor}"), *kept):
        if (
            python
            and not subprocess.run([python, "-c", script], stderr=subprocess.DEVNULL).returncode
        ):
            return python
    return None


INTERPRETERS = {minor: python for minor in MINORS if (python := interpreter(minor))}


def pytest_report_header() -> str:
    here = ", ".join(f"3.{minor}" for minor in INTERPRETERS)
    away = ", ".join(f"3.{minor}" for minor in MINORS if minor not in INTERPRETERS)
    return f"the package is tried on Python {here}; untested, for it is not here: {away or 'none'}"


def until(fact: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Waits until `fact` is true; fails with `what` when it does not come to be."""
    end = time.monotonic() + seconds
    while not (value := fact()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.002)
    return value


def is_sent(method: str, link: aio.AsyncLink) -> bool:
    """Whether a call of `method` is on its way to the agent, or there."""
    channels = list(link._channels.values())
    waiting = [call for channel in channels for call in list(channel.waiting.values())]
    return any(call.sent for call in waiting if call.target.proc == method)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def server(bench: Bench) -> Iterator[Server]:
    server = Server(LOOPBACK)
    server.expose("bench", bench, attributes=True)
    with server:
        yield server
        bench.gate.set()


@pytest.fixture
def agent(server: Server) -> Iterator[Agent]:
    with Agent(server.url) as agent:
        yield agent


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.url, "bench") as proxy:
        yield proxy


class Raw:
    """A plain REQ socket, as an old client has."""

    def __init__(self, url: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVTIMEO, 10_000)
        self.socket.connect(url)

    def ask(self, request: bytes) -> bytes:
        self.socket.send(request)
        return self.socket.recv()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


class Process:
    """A Python server in a process of its own, that can be killed and started again."""

    def __init__(self, url: str = LOOPBACK, variant: str = "a") -> None:
        self.url = url
        self.start(variant)

    def start(self, variant: str = "a") -> None:
        here = Path(__file__).parent
        command = [sys.executable, str(here / "serve.py"), self.url, variant]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line.startswith("listening "), f"the server said {line!r}"
        self.url = line.split()[1]

    def kill(self) -> None:
        self.child.kill()
        self.wait()

    def wait(self) -> int:
        status = self.child.wait(20)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return status

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.child.returncode is None:
            self.kill()


def free_url() -> str:
    """Gives an address of the loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def binary(variable: str, name: str) -> Path:
    """Gives a program of the workspace; skips the test where it has not been built."""
    told = os.environ.get(variable)
    path = Path(told) if told else ROOT / "target" / "release" / name
    if not path.exists():
        pytest.skip(f"no {name}: set {variable}, or run `cargo build --release`")
    return path
