"""The Python client beside its peers: a call that does nothing, a read of 1 MiB, the first call.

    python bench/compare.py [--json] [--rounds N] [--agent PATH]

Each contender serves from a process of its own on one core and is called from another on a second
core, in turns, and what counts are ratios within one round. The floor is what a laptop with nothing
but pyzmq and msgpack would write: a REQ socket, a dict packed, a reply unpacked, nothing looked at.
It calls the same agent's same method from the same process, in turns with the proxy. The first call
is in a fresh process, from before the import until its answer. `cargo xtask bench --only python`
runs this with all that it needs, and holds the gates.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CALLS, READS, TURNS, STARTS = 3000, 60, 10, 5
BLOB = bytes(range(256)) * 4096

NULL, BARE, FIXED = "null call, us", "bare loop, us", "fixed bytes, us"
READ, FIRST = "1 MiB read, us", "first call, ms"
ROWS = (NULL, BARE, FIXED, READ, FIRST)

# At the agent, and at our server in Python, which serves what the peers serve.
AGENT, OURS = "proximity, agent", "proximity"


class Foo:
    """What everybody serves."""

    def add_two(self, x: int, y: int) -> int:
        return x + y

    def blob(self) -> bytes:
        return BLOB


# The serving side: each prints its address, then serves until it is killed.


def say(address: Any) -> None:
    print(address, flush=True)


def serve_proximity() -> None:
    from proximity import Server

    server = Server("tcp://127.0.0.1:*")
    server.expose("foo", Foo())
    say(server.url)
    server.run()


def serve_zerorpc() -> None:
    import socket

    import zerorpc

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    server = zerorpc.Server(Foo())
    server.bind(url)
    say(url)
    server.run()


def serve_pyro5() -> None:
    import Pyro5.api

    Pyro5.config.SERIALIZER = "msgpack"  # its default turns bytes into text
    daemon = Pyro5.api.Daemon(host="127.0.0.1")
    say(daemon.register(Pyro5.api.expose(Foo)()))
    daemon.requestLoop()


def serve_rpyc() -> None:
    import rpyc
    from rpyc.utils.server import ThreadedServer

    class Service(rpyc.Service):
        exposed_add_two = Foo.add_two
        exposed_blob = Foo.blob

    server = ThreadedServer(Service(), hostname="127.0.0.1", port=0)
    say(server.port)
    server.start()


SERVE = {
    OURS: serve_proximity,
    "zerorpc": serve_zerorpc,
    "Pyro5": serve_pyro5,
    "rpyc": serve_rpyc,
}

# The calling side: how each comes by `foo`, from its import on.

PROXIMITY = """
from proximity import Proxy
foo = Proxy(address, "foo")
"""
ZERORPC = """
import zerorpc
foo = zerorpc.Client(address)
"""
PYRO5 = """
import Pyro5.api
Pyro5.config.SERIALIZER = "msgpack"
foo = Pyro5.api.Proxy(address)
"""
RPYC = """
import rpyc
foo = rpyc.connect("127.0.0.1", int(address)).root
"""
CONNECT = {AGENT: PROXIMITY, OURS: PROXIMITY, "zerorpc": ZERORPC, "Pyro5": PYRO5, "rpyc": RPYC}
# Without an import of this script before it, which would do part of a contender's work.
FIRST_CALL = """
import sys, time
began, address = time.perf_counter(), sys.argv[1]
{connect}
assert foo.add_two(2, 3) == 5
print((time.perf_counter() - began) * 1000)
"""


def bare(address: str) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Gives the call as a laptop would make it, and one with the bytes made before."""
    import msgpack
    import zmq

    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.connect(address)

    def request() -> bytes:
        return msgpack.packb({"name": "foo", "proc": "add_two", "args": [2, 3], "kwargs": {}})

    def call() -> Any:
        socket.send(request())
        return msgpack.unpackb(socket.recv())

    bytes_of_it = request()

    def call_with_fixed_bytes() -> bytes:
        socket.send(bytes_of_it)
        return socket.recv()

    assert call() == 5
    return call, call_with_fixed_bytes


def median_us(function: Callable[[], Any], count: int) -> float:
    for _ in range(count // 10):
        function()
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        function()
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1000


def measure(contender: str, address: str) -> dict[str, float]:
    """Measures in this process, which does nothing else."""
    names: dict[str, Any] = {"address": address}
    exec(CONNECT[contender], names)
    foo = names["foo"]

    def null() -> Any:
        return foo.add_two(2, 3)

    assert null() == 5
    if contender == AGENT:
        turns = dict(zip((NULL, BARE, FIXED), (null, *bare(address))))
        times: dict[str, list[float]] = {row: [] for row in turns}
        for _ in range(TURNS):
            for row, function in turns.items():
                times[row].append(median_us(function, CALLS // TURNS))
        return {row: statistics.median(taken) for row, taken in times.items()}
    assert foo.blob() == BLOB
    return {NULL: median_us(null, CALLS), READ: median_us(foo.blob, READS)}


# The run.


def pinned(core: int) -> Callable[[], None]:
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})


@contextmanager
def started(command: list[Any]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=pinned(0),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def serving(contender: str, agent: Path) -> Iterator[str]:
    """Starts what `contender` calls; gives its address."""
    if contender == AGENT:
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "agent.toml"
            config.write_text(
                'listen = ["tcp://127.0.0.1:0"]\n[objects.foo]\ndriver = "calculator"\n'
            )
            with started([agent, "serve", "-c", config]) as process:
                assert process.stdout is not None
                yield process.stdout.readline().split()[1]
    else:
        with started([sys.executable, __file__, "--serve", contender]) as process:
            assert process.stdout is not None
            yield process.stdout.readline().strip()


def asked(*words: str) -> str:
    """Runs a Python on the second core; gives what it prints."""
    return subprocess.run(
        [sys.executable, *words],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=pinned(1),
    ).stdout


def one_round(contender: str, agent: Path) -> dict[str, float]:
    first_call = FIRST_CALL.format(connect=CONNECT[contender])
    with serving(contender, agent) as address:
        firsts = [float(asked("-c", first_call, address)) for _ in range(STARTS)]
        found: dict[str, float] = json.loads(asked(__file__, "--measure", contender, address))
    found[FIRST] = statistics.median(firsts)
    return found


def rounds_of_all(rounds: int, agent: Path) -> dict[str, dict[str, list[float]]]:
    """Gives what each contender took in each round, row by row."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in CONNECT}
    with tempfile.TemporaryDirectory() as cache:
        # As after an installation: what is imported was compiled once, in a round before the first.
        os.environ["PYTHONPYCACHEPREFIX"] = cache
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(rounds + 1):
            for name in CONNECT:
                taken = one_round(name, agent)
                for row, value in taken.items() if number else ():
                    found[name].setdefault(row, []).append(value)
    return found


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Gives the medians, for people."""
    lines = [f"{'':16} " + "  ".join(f"{row:>16}" for row in ROWS)]
    for name, rows in found.items():
        cells = (f"{statistics.median(rows[row]):.1f}" if row in rows else "" for row in ROWS)
        lines.append(f"{name:16} " + "  ".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print every round's figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agent", type=Path, help="the proximity-agent program")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        SERVE[options.serve]()
    elif options.measure:
        print(json.dumps(measure(*options.measure)))
    else:
        told = os.environ.get("PROXIMITY_AGENT_BIN")
        agent = options.agent or Path(told or ROOT / "target/release/proximity-agent")
        found = rounds_of_all(options.rounds, agent)
        print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
