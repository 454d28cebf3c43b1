"""The Python client beside its peers: a call that does nothing, a read of 1 MiB, the first call.

    python bench/compare.py [--check] [--rounds N] [--agent PATH]

Each contender serves from a process of its own on one core and is called from another on a second
core, in turns; what counts is the median over the rounds, and the ratios within one run. The floor
is a bare pyzmq REQ loop: fixed bytes out, bytes in, nothing looked at. Beside the agent it
calls the agent too, from the same process and in turns with the proxy. --check exits with 1 where a
gate fails.
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
from typing import Any, Optional

ROOT = Path(__file__).resolve().parents[3]
CALLS, READS = 3000, 60
BLOB = bytes(range(256)) * 4096
REQUEST = b"\x84\xa4name\xa3foo\xa4proc\xa7add_two\xa4args\x92\x02\x03\xa6kwargs\x80"

NULL, READ, FIRST = "null call, us", "1 MiB read, us", "first call, ms"
FLOOR, AGENT, OURS = "pyzmq", "proximity-agent", "proximity"
BESIDE = "bare loop to the same agent, us"
PEERS = ("zerorpc", "Pyro5", "rpyc")


class Foo:
    """What everybody serves."""

    def add_two(self, x: int, y: int) -> int:
        return x + y

    def blob(self) -> bytes:
        return BLOB


# The serving side: each prints its address, then serves until it is killed.


def say(address: Any) -> None:
    print(address, flush=True)


def serve_pyzmq() -> None:
    import zmq

    socket = zmq.Context.instance().socket(zmq.REP)
    say(f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}")
    while True:
        socket.send(BLOB if socket.recv() == b"blob" else b"\x05")


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


# The calling side: each gives a function that calls, and one that reads.

Calls = tuple[Callable[[], Any], Optional[Callable[[], Any]]]


def call_pyzmq(address: str) -> Calls:
    import zmq

    socket = zmq.Context.instance().socket(zmq.REQ)
    socket.connect(address)

    def null() -> bytes:
        socket.send(REQUEST)
        return socket.recv()

    def read() -> bytes:
        socket.send(b"blob")
        return socket.recv()

    return null, read


def call_proximity(address: str) -> Calls:
    from proximity import Proxy

    foo = Proxy(address, "foo")
    add_two = foo.add_two
    return lambda: add_two(2, 3), getattr(foo, "blob", None) if "blob" in dir(foo) else None


def call_zerorpc(address: str) -> Calls:
    import zerorpc

    foo = zerorpc.Client(address)
    return lambda: foo.add_two(2, 3), foo.blob


def call_pyro5(address: str) -> Calls:
    import Pyro5.api

    Pyro5.config.SERIALIZER = "msgpack"
    foo = Pyro5.api.Proxy(address)
    return lambda: foo.add_two(2, 3), foo.blob


def call_rpyc(address: str) -> Calls:
    import rpyc

    foo = rpyc.connect("127.0.0.1", int(address)).root
    return lambda: foo.add_two(2, 3), foo.blob


SERVE = {
    FLOOR: serve_pyzmq,
    OURS: serve_proximity,
    "zerorpc": serve_zerorpc,
    "Pyro5": serve_pyro5,
    "rpyc": serve_rpyc,
}
CALL = {
    FLOOR: call_pyzmq,
    AGENT: call_proximity,
    OURS: call_proximity,
    "zerorpc": call_zerorpc,
    "Pyro5": call_pyro5,
    "rpyc": call_rpyc,
}


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
    null, read = CALL[contender](address)
    if contender == AGENT:
        bare, _ = call_pyzmq(address)
        pairs = [(median_us(bare, CALLS // 10), median_us(null, CALLS // 10)) for _ in range(10)]
        floors, calls = zip(*pairs)
        return {NULL: statistics.median(calls), BESIDE: statistics.median(floors)}
    found = {NULL: median_us(null, CALLS)}
    if read is not None:
        assert read() == BLOB
        found[READ] = median_us(read, READS)
    return found


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
def serving(contender: str, agent: Path | None) -> Iterator[str]:
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
    """Runs this script on the second core; gives what it prints."""
    return subprocess.run(
        [sys.executable, __file__, *words],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=pinned(1),
    ).stdout


def one_round(contender: str, agent: Path | None) -> dict[str, float]:
    with serving(contender, agent) as address:
        began = time.monotonic()
        asked("--first", contender, address)
        first = (time.monotonic() - began) * 1000
        found: dict[str, float] = json.loads(asked("--measure", contender, address))
    found[FIRST] = first
    return found


def is_here(contender: str) -> bool:
    modules = {"zerorpc": "zerorpc", "Pyro5": "Pyro5.api", "rpyc": "rpyc"}
    script = f"import {modules.get(contender, 'zmq')}"
    tried = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    return tried.returncode == 0


def gates(result: dict[str, dict[str, float]], missing: list[str]) -> list[tuple[str, bool]]:
    """Gives what must hold, and whether it does."""
    checks = [(f"{peer} is there to compare with", False) for peer in missing]
    ours = [name for name in (AGENT, OURS) if name in result]
    if AGENT in result:
        ratio = result[AGENT][NULL] / result[AGENT][BESIDE]
        said = f"null call at the agent is {ratio:.2f} x the bare loop's; at most 1.25"
        checks.append((said, ratio <= 1.25))
    for peer in PEERS:
        if peer not in result:
            continue
        # The agent where there is one: it is what the client is for.
        for row, name in ((NULL, ours[0]), (FIRST, ours[0]), (READ, OURS)):
            ratio = result[name][row] / result[peer][row]
            checks.append((f"{row}: {name} takes {ratio:.2f} x {peer}; less than 1", ratio < 1))
    return checks


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="exit with 1 where a gate fails")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agent", type=Path, help="the proximity-agent program")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--first", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        SERVE[options.serve]()
    elif options.measure:
        print(json.dumps(measure(*options.measure)))
    elif options.first:
        contender, address = options.first
        CALL[contender](address)[0]()
    else:
        return compare(options)
    return 0


def compare(options: argparse.Namespace) -> int:
    told = options.agent or os.environ.get("PROXIMITY_AGENT_BIN")
    agent: Path | None = Path(told) if told else ROOT / "target/release/proximity-agent"
    contenders = [FLOOR, OURS, *PEERS]
    if agent is not None and agent.exists():
        contenders.insert(1, AGENT)
    else:
        print(f"no agent at {agent}: only the Python server is measured")
    missing = [name for name in PEERS if not is_here(name)]
    contenders = [name for name in contenders if name not in missing]
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as cache:
        # As after an installation: what is imported was compiled once, in the first round.
        os.environ["PYTHONPYCACHEPREFIX"] = cache
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for number in range(options.rounds + 1):
            for name in contenders:
                found = one_round(name, agent)
                if number:
                    rounds[name].append(found)
    result = {
        name: {row: statistics.median(r[row] for r in found) for row in found[0]}
        for name, found in rounds.items()
    }
    print(f"{'':20} {NULL:>16} {'x floor':>8} {READ:>16} {FIRST:>16}")
    for name, row in result.items():
        floor = row.get(BESIDE, result[FLOOR][NULL])
        read = f"{row[READ]:16.0f}" if READ in row else f"{'':16}"
        print(f"{name:20} {row[NULL]:16.1f} {row[NULL] / floor:8.2f} {read} {row[FIRST]:16.1f}")
    for name in missing:
        print(f"{name:20} {'is not installed':>16}")
    failed = False
    for said, holds in gates(result, missing):
        print(f"{'ok  ' if holds else 'FAIL'} {said}")
        failed = failed or not holds
    return 1 if failed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
