"""The Rust agent: the same client, the same session, and each other's servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from conftest import LOOPBACK, binary, free_url, until
from objects import Foo, Fpga
from proximity import (
    Agent,
    AsyncProxy,
    CallError,
    NotExecuted,
    OutcomeUnknown,
    Proxy,
    RemoteError,
    Server,
    broadcast,
)
from py_proximity import PyProximityClient, PyProximityException
from test_resilience import keep_calling

CONFIG = """
listen = ["{url}"]

[objects.foo]
driver = "calculator"

[objects."animals.angry"]
driver = "calculator"

[objects.counter]
driver = "counter"

[objects.srbs]
driver = "fpga"
host = "127.0.0.1"
port = {port}
"""


class RustAgent:
    """An agent with a board that is a mock, both in processes of their own."""

    name, method = "foo", "add_two"

    def __init__(self, folder: Path) -> None:
        self.agent = binary("PROXIMITY_AGENT_BIN", "proximity-agent")
        mock = binary("MOCK_FPGA_BIN", "mock-fpga")
        self.url = free_url()
        self.mock = subprocess.Popen([mock], stdout=subprocess.PIPE, text=True)
        port = first_line(self.mock, "listening ").rpartition(":")[2].strip()
        self.port = int(port)
        self.config = folder / "agent.toml"
        self.config.write_text(CONFIG.format(url=self.url, port=port))
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.agent, "serve", "-c", self.config],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={key: value for key, value in os.environ.items() if key != "RUST_LOG"},
            text=True,
        )
        first_line(self.process, "listening ")

    def fault(self, words: str) -> None:
        """Sets a fault of the board."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as board:
            board.sendall(f"?mock-fault {words}\n".encode())
            received = b""
            while b"!mock-fault ok" not in received:
                received += board.recv(4096)

    def kill(self) -> None:
        self.process.kill()
        end(self.process)

    def close(self) -> None:
        for process in (self.process, self.mock):
            process.kill()
            end(process)


def first_line(process: subprocess.Popen[str], start: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith(start), line
    return line


def end(process: subprocess.Popen[str]) -> int:
    status = process.wait(20)
    assert process.stdout is not None
    process.stdout.close()
    return status


@pytest.fixture(scope="module")
def rust(tmp_path_factory: Any) -> Iterator[RustAgent]:
    rust = RustAgent(tmp_path_factory.mktemp("agent"))
    yield rust
    rust.close()


@pytest.fixture
def agent(rust: RustAgent) -> Iterator[Agent]:
    with Agent(rust.url) as agent:
        yield agent


def test_the_session_of_the_readme(agent: Agent) -> None:
    foo = agent.foo
    assert {"sub_two", "div_two"} <= set(dir(foo))
    assert foo.sub_two.__doc__.startswith("usage: sub_two(x, y)\nSubtracts ")
    assert foo.sub_two(5, 3) == 2
    assert foo.div_two(500, 2) == 250
    assert type(foo.div_two(500, 2)) is int
    with pytest.raises(ZeroDivisionError):
        foo.div_two(2, 0)
    with pytest.raises(TypeError, match="missing required argument: 'y'"):
        foo.sub_two(1)
    srbs = agent.srbs
    assert {"blindwrite", "est_brd_clk", "listdev", "progdev", "read_uint", "status"} <= set(
        dir(srbs)
    )
    assert "sys_clkcounter" in srbs.listdev()
    srbs.write_int("sys_scratchpad", 0x01020304)
    assert srbs.read_uint("sys_scratchpad") == 0x01020304
    assert srbs.read("sys_scratchpad", 4) == bytes((1, 2, 3, 4))
    with pytest.raises(KeyError, match="no register 'nothing'") as caught:
        srbs.read("nothing", 4)
    assert isinstance(caught.value, RemoteError)
    assert "hint: listdev() tells" in str(caught.value)


def test_the_session_with_the_originals_names(rust: RustAgent) -> None:
    ctx = zmq.Context()
    foo = PyProximityClient(ctx, "foo", rust.url)
    assert foo.sub_two(5, 3) == 2
    assert foo.div_two(500, 2) == 250
    with pytest.raises(PyProximityException) as caught:
        foo.div_two(2, 0)
    assert caught.value.args[0][0] == "ZeroDivisionError"
    srbs = PyProximityClient(ctx, "srbs", rust.url)
    assert "sys_clkcounter" in srbs.listdev()
    foo.close()
    srbs.close()
    ctx.term()


def test_the_example_captures_and_plots_what_a_board_sees(rust: RustAgent, tmp_path: Path) -> None:
    example = Path(__file__).parents[1] / "examples" / "fleet.py"
    run = subprocess.run(
        [sys.executable, example, rust.url, rust.url],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "14 registers" in run.stdout
    assert re.search(r"sys_board_id +0xb00b\n", run.stdout)
    plotted = [line.index("*") for line in run.stdout.splitlines() if line.strip() == "*"]
    if not (tmp_path / "snapshot.png").exists():
        # A tone: up and down, more than its noise.
        assert len(plotted) == 32
        assert max(plotted) - min(plotted) > 16
    assert run.stdout.count(" srbs: ") == 2


def test_words_of_a_register_as_an_array(agent: Agent) -> None:
    pytest.importorskip("numpy")
    agent.srbs.write_int("sys_scratchpad", 7)
    assert agent.srbs.read("sys_scratchpad", 4, dtype=">u4").tolist() == [7]
    assert len(agent.srbs.read("big_bram", 1 << 15)) == 1 << 15


def test_an_array_is_written_as_its_bytes(agent: Agent) -> None:
    numpy = pytest.importorskip("numpy")
    words = numpy.arange(64, dtype=">u4")
    agent.srbs.write("big_bram", words)
    assert (agent.srbs.read("big_bram", 256, dtype=">u4") == words).all()


def test_attributes_and_nested_objects(agent: Agent) -> None:
    before = agent.counter.value
    assert agent.counter.add(3) == before + 3
    assert agent.counter.value == before + 3
    assert agent.animals.angry.add_two(1, 2) == 3
    assert sorted(agent) == ["animals.angry", "counter", "foo", "srbs"]


def test_many_at_once(agent: Agent, rust: RustAgent) -> None:
    with agent.foo.batch() as batch:
        calls = [batch.add_two(number, number) for number in range(500)]
    assert [call.result() for call in calls] == [2 * number for number in range(500)]
    answers = broadcast([agent.foo, agent.animals.angry]).add_two(1, 2)
    assert [answer.value for answer in answers] == [3, 3]

    async def main() -> list[int]:
        async with AsyncProxy(rust.url, "foo") as foo:
            return await asyncio.gather(*(foo.add_two(n, 1) for n in range(20)))

    assert asyncio.run(main()) == list(range(1, 21))


def test_a_board_that_hangs_keeps_nobody(agent: Agent, rust: RustAgent) -> None:
    agent.srbs.read_uint("sys_scratchpad")
    rust.fault("hang 1500")
    began = time.monotonic()
    with pytest.raises((OutcomeUnknown, RemoteError)) as caught:
        agent.srbs.read_uint("sys_scratchpad", timeout=0.3)
    assert isinstance(caught.value, TimeoutError)
    assert time.monotonic() - began < 1.2
    assert agent.foo.add_two(1, 2) == 3
    rust.fault("none")
    until(lambda: is_back(agent.srbs), "the board answers again")


def is_back(board: Proxy) -> bool:
    try:
        return board.read_uint("sys_scratchpad", timeout=1) >= 0
    except (RemoteError, CallError):
        return False


def test_the_agent_killed_and_restarted_200_times_under_one_proxy(tmp_path: Path) -> None:
    rust = RustAgent(tmp_path)
    try:
        keep_calling(rust, 200)
    finally:
        rust.close()


def test_an_agent_that_is_told_to_stop_answers_what_waits(tmp_path: Path) -> None:
    rust = RustAgent(tmp_path)
    try:
        with Agent(rust.url) as agent:
            assert agent.srbs.is_connected() in (True, False)
            calls = [call_read(agent.srbs) for _ in range(20)]
            os.kill(rust.process.pid, signal.SIGTERM)
            for call in calls:
                error = call.exception(10)
                assert error is None or isinstance(error, (NotExecuted, OutcomeUnknown)), error
        assert end(rust.process) == 0
    finally:
        rust.close()


def call_read(board: Proxy) -> Any:
    # Those that come too late find no agent any more.
    return board.call_async("read", "big_bram", 1 << 15, timeout=2)


# The command line of the Rust client against the Python server.


@pytest.fixture(scope="module")
def python_url() -> Iterator[str]:
    server = Server(LOOPBACK)
    server.expose("foo", Foo())
    server.expose("srbs", Fpga())
    with server:
        yield server.url


def command(url: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = binary("PROXIMITY_BIN", "proximity")
    return subprocess.run(
        [program, "-a", url, *words], capture_output=True, text=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("call", "foo.sub_two", "5", "3"), 2),
        (("call", "foo.sub_two", "x=5", "y=3"), 2),
        (("call", "srbs.listdev"), ["sys_board_id", "sys_clkcounter", "sys_rev", "sys_scratchpad"]),
        (("call", "srbs.read_uint", "sys_rev"), 2),
    ],
)
def test_the_command_calls_python_objects(
    python_url: str, words: tuple[str, ...], value: Any
) -> None:
    run = command(python_url, "--json", *words)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == value


def test_the_command_tells_python_errors(python_url: str) -> None:
    run = command(python_url, "call", "foo.div_two", "2", "0")
    assert run.returncode == 1
    assert "ZeroDivisionError" in run.stderr
    run = command(python_url, "list")
    assert run.returncode == 0
    assert "srbs" in run.stdout
    run = command(python_url, "describe", "foo.sub_two")
    assert "Subtracts y from x." in run.stdout


def test_status_tells_of_each_object(agent: Agent) -> None:
    told = agent.status()
    assert told["agent"]["epoch"] == agent.hello()["epoch"]
    assert set(told["objects"]) == set(agent.hello()["objects"])
    assert {"state", "calls", "latency", "queue"} <= set(told["objects"]["foo"])


def test_what_the_agent_logs_is_told_and_set(agent: Agent) -> None:
    """Over loopback, which is its own machine."""
    assert agent.log_level() == "info"
    try:
        assert agent.log_level("debug") == "debug"
        assert agent.log_level() == "debug"
    finally:
        assert agent.log_level("info") == "info"
    with pytest.raises(ValueError, match="the level is 'loud'; it must be off, error, warn, info"):
        agent.log_level("loud")
