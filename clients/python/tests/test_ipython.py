"""At the prompt: a real IPython on a pseudo-terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from conftest import LOOPBACK, free_url, until
from objects import Bench, Foo, Fpga
from proximity import Server

pytest.importorskip("IPython")

# Makes the terminal the one that Ctrl-C comes from.
CHILD = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
OPTIONS = (
    "--no-banner",
    "--no-confirm-exit",
    "--TerminalInteractiveShell.colors=NoColor",
    "--TerminalInteractiveShell.display_completions=readlinelike",
    "--TerminalInteractiveShell.autosuggestions_provider=None",
    "--HistoryManager.enabled=False",
)
CTRL_C, CTRL_U = "\x03", "\x15"


class Prompt:
    """Types into IPython and reads what a person would see."""

    def __init__(self, home: Path) -> None:
        self.terminal, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 400, 160, 0, 0))
        env = {
            **os.environ,
            "TERM": "xterm",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            "IPYTHONDIR": str(home),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, "-c", CHILD, sys.executable, "-m", "IPython", *OPTIONS]
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, start_new_session=True, env=env
        )
        os.close(child)
        self.number = 1
        self._seen, self._read = "", 0
        self.read_until("In [1]:", seconds=60)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def read_until(self, *words: str, seconds: float = 20) -> str:
        """Gives what appeared up to where all of `words` have."""
        end = time.monotonic() + seconds
        while not all(word in (text := plain(self._seen)[self._read :]) for word in words):
            left = end - time.monotonic()
            assert left > 0, f"{words} did not appear; there is {text[-2000:]!r}"
            if select.select([self.terminal], [], [], left)[0]:
                self._seen += os.read(self.terminal, 1 << 16).decode(errors="replace")
        size = max(text.index(word) + len(word) for word in words)
        self._read += size
        return text[:size]

    def run(self, line: str) -> str:
        """Runs a line; gives what it showed."""
        self.type(line + "\r")
        self.number += 1
        return self.read_until(f"In [{self.number}]:")

    def list_completions(self, text: str, *words: str) -> str:
        """Types `text` and Tab; gives the list with all of `words`, and clears the line."""
        self.type(text + "\t")
        seen = self.read_until(*words)
        # What is typed before the prompt is back is for the terminal, not for IPython.
        self.read_until(f"In [{self.number}]: {text}")
        self.type(CTRL_U)
        return seen

    def complete(self, text: str, whole: str) -> None:
        """Types `text` and Tab, where one thing fits; waits for the whole, and clears the line."""
        self.type(text + "\t")
        self.read_until(whole)
        self.type(CTRL_U)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


def plain(text: str) -> str:
    """Takes out what only moves and colours."""
    text = re.sub(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)", "", text)
    return re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[=>()][AB0]?)", "", text).replace("\r", "")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(LOOPBACK)
    server.expose("srbs", Fpga())
    server.expose("foo", Foo())
    server.expose("bench", Bench(), attributes=True)
    server.expose("animals.angry", Foo())
    with server:
        yield server


@pytest.fixture(scope="module")
def prompt(server: Server, tmp_path_factory: Any) -> Iterator[Prompt]:
    prompt = Prompt(tmp_path_factory.mktemp("ipython"))
    prompt.run("from proximity import *")
    prompt.run(f"URL = {server.url!r}; agent = Agent(URL); away = Proxy({free_url()!r}, 'x', 0.3)")
    prompt.run("srbs, foo, bench = (Proxy(URL, name) for name in ('srbs', 'foo', 'bench'))")
    yield prompt
    prompt.close()


def test_repr_before_the_first_use(prompt: Prompt, server: Server) -> None:
    shown = prompt.run("Proxy(URL, 'srbs')")
    assert f"<Proxy 'srbs' at {server.url}: not yet reached>" in shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("foo.sub_two(5, 3)", "2"),
        ("foo.div_two(500, 2)", "250"),
        ("foo.sub_two(y=3, x=5)", "2"),
        ("srbs.listdev()", "['sys_board_id', 'sys_clkcounter', 'sys_rev', 'sys_scratchpad']"),
        ("srbs.read('sys_rev', 4)", r"b'\x00\x00\x00\x02'"),
        ("len(dir(srbs))", "46"),
        ("bench.gain", "3"),
        ("bench.level", "1.5"),
        ("list(agent)", "['animals.angry', 'bench', 'foo', 'srbs']"),
        ("agent.animals.angry.sub_two(9, 4)", "5"),
        ("agent['foo'].sub_two(1, 1)", "0"),
        ("foo.sub_two", "<function proximity.foo.sub_two(x, y)>"),
        ("[a.value for a in broadcast([foo, agent.animals.angry]).sub_two(2, 1)]", "[1, 1]"),
        ("foo.call_async('sub_two', 5, 3).result()", "2"),
        ("await AsyncProxy(URL, 'foo').sub_two(7, 3)", "4"),
    ],
)
def test_a_line_shows_its_value(prompt: Prompt, line: str, shown: str) -> None:
    assert re.search(r"Out\[\d+\]:\s*" + re.escape(shown) + r"\s*In \[", prompt.run(line))


def test_repr_after_the_first_use(prompt: Prompt, server: Server) -> None:
    prompt.run("foo.sub_two(1, 1)")
    assert f"<Proxy 'foo' at {server.url}: connected>" in prompt.run("foo")
    assert f"<Agent at {server.url}:" in prompt.run("agent")


def test_setting_an_attribute(prompt: Prompt) -> None:
    prompt.run("bench.gain = 3")
    assert "attribute 'fixed' can only be read" in prompt.run("bench.fixed = 1")
    assert "'bench' has no 'gian'; did you mean 'gain'?" in prompt.run("bench.gian = 1")


def test_a_method_can_be_neither_set_nor_deleted(prompt: Prompt) -> None:
    told = "AttributeError: 'sub_two' of 'foo' is no attribute that can be set"
    assert told in prompt.run("foo.sub_two = 3")
    assert "AttributeError: nothing of 'foo' can be deleted" in prompt.run("del foo.sub_two")
    assert re.search(r"Out\[\d+\]: 2\s", prompt.run("foo.sub_two(5, 3)"))


def test_a_broadcast_shows_values_and_errors_side_by_side(prompt: Prompt, server: Server) -> None:
    shown = prompt.run("broadcast([foo, away]).sub_two(2, 1)")
    assert f"<{server.url} foo: 1>," in shown
    assert re.search(r"<tcp://127.0.0.1:\d+ x: NotSent: x.sub_two was not sent: no agent", shown)


def test_bytes_show_as_an_array_of_words(prompt: Prompt) -> None:
    pytest.importorskip("numpy")
    shown = prompt.run("srbs.read('sys_scratchpad', 8, dtype='>u4')")
    assert re.search(r"Out\[\d+\]: array\(\[3, 3\], dtype='>u4'\)", shown)
    shown = prompt.run("foo.sub_two(1, 1, dtype='>u4')")
    assert "TypeError: dtype= is for methods that return bytes, not int" in shown


# Tab.


def test_tab_lists_the_objects_methods_and_nothing_else(prompt: Prompt) -> None:
    shown = prompt.list_completions("foo.", "div_two", "sub_two")
    assert "batch" not in shown
    assert "with_timeout" not in shown


def test_tab_lists_what_begins_so(prompt: Prompt) -> None:
    shown = prompt.list_completions("srbs.read_", "read_dram", "read_int", "read_uint")
    assert "write_int" not in shown


def test_tab_completes_what_there_is_one_of(prompt: Prompt) -> None:
    prompt.complete("srbs.est_b", "est_brd_clk")


def test_tab_lists_attributes_too(prompt: Prompt) -> None:
    prompt.complete("bench.le", "level")


def test_tab_lists_objects(prompt: Prompt) -> None:
    prompt.complete("agent.a", "animals")
    prompt.complete("agent['b", "bench")


def test_tab_on_a_nested_object(prompt: Prompt) -> None:
    prompt.run("animals = agent.animals")
    prompt.complete("animals.", "angry")


def test_tab_on_a_proxy_that_was_never_used(prompt: Prompt) -> None:
    prompt.run("fresh = Proxy(URL, 'srbs')")
    prompt.complete("fresh.snapshot", "snapshot_get")


def test_tab_shows_what_a_restarted_agent_has(prompt: Prompt) -> None:
    first = Server(LOOPBACK)
    first.expose("thing", Foo())
    with first:
        prompt.run(f"thing = Proxy({first.url!r}, 'thing')")
        prompt.list_completions("thing.", "div_two", "sub_two")
    second = until(lambda: bound(first.url), "the address is free again")
    second.expose("thing", Bench())
    with second:
        prompt.run("thing.add(1)")
        prompt.list_completions("thing.", "count", "own_type_error")


def bound(url: str) -> Server | None:
    with contextlib.suppress(zmq.ZMQError):
        return Server(url)
    return None


def test_tab_and_repr_do_not_wait_for_an_agent_that_is_away(prompt: Prompt) -> None:
    began = time.monotonic()
    prompt.type("away.\t")
    prompt.type(CTRL_U)
    assert "not yet reached" in prompt.run("away") or "not reachable" in prompt.run("away")
    assert time.monotonic() - began < 5


# Question marks.


def test_a_question_mark_shows_signature_and_documentation(prompt: Prompt) -> None:
    shown = prompt.run("foo.sub_two?")
    assert re.search(r"Signature: +foo\.sub_two\(x, y\)", shown)
    assert re.search(r"Docstring:\s+usage: sub_two\(x, y\)", shown)
    assert "Subtracts y from x." in shown
    assert "returns: x - y" in shown


def test_a_question_mark_shows_types_and_defaults(prompt: Prompt) -> None:
    shown = prompt.run("srbs.read?")
    assert "srbs.read(device_name: str, size: int, offset: int = 0) -> bytes" in shown
    assert "raises KeyError: there is no such register" in shown


def test_a_question_mark_where_there_is_no_documentation(prompt: Prompt) -> None:
    assert re.search(r"Docstring: +usage: div_two\(x, y\)", prompt.run("foo.div_two?"))


def test_a_question_mark_on_the_object(prompt: Prompt) -> None:
    shown = prompt.run("srbs?")
    assert "<Proxy 'srbs' at" in shown
    assert "An object of an agent, as if it were local." in shown


def test_two_question_marks_show_the_documentation_too(prompt: Prompt) -> None:
    shown = prompt.run("foo.sub_two??")
    assert "Signature: foo.sub_two(x, y)" in shown
    assert "Subtracts y from x." in shown


def test_a_question_mark_on_the_agent(prompt: Prompt, server: Server) -> None:
    shown = prompt.run("agent?")
    assert f"<Agent at {server.url}" in shown
    assert re.search(r"Length: +4\s", shown)
    assert "An agent and its objects" in shown


def test_help_works_too(prompt: Prompt) -> None:
    assert "Subtracts y from x." in prompt.run("print(foo.sub_two.__doc__)")
    assert "<Signature (x, y)>" in prompt.run("import inspect; inspect.signature(foo.sub_two)")


# Exceptions.


def test_an_exception_shows_the_traceback_of_the_other_side(prompt: Prompt) -> None:
    shown = prompt.run("foo.div_two(2, 0)")
    assert "Traceback on the other side (most recent call last):" in shown
    assert "in div_two" in shown
    assert "return x // y" in shown
    assert "The above exception was the direct cause of the following exception:" in shown
    assert re.search(r"ZeroDivisionError: (integer )?division.* by zero", shown)


def test_an_exception_can_be_caught_by_its_builtin(prompt: Prompt) -> None:
    line = "import contextlib\nwith contextlib.suppress(ZeroDivisionError): foo.div_two(2, 0)"
    prompt.run(f"exec({line!r}); print('go' + 'ing on')")
    assert "going on" in prompt.run("print('go' + 'ing on')")


def test_wrong_arguments_are_said_in_one_line(prompt: Prompt) -> None:
    shown = prompt.run("foo.sub_two(1)")
    assert "TypeError: sub_two() missing a required argument: 'y'" in shown
    assert "other side" not in shown


def test_an_unknown_method_is_said_with_the_one_that_was_meant(prompt: Prompt) -> None:
    shown = prompt.run("foo.sub_too(1, 2)")
    assert "AttributeError: 'foo' has no 'sub_too'; did you mean 'sub_two'?" in shown


def test_an_agent_that_is_away_is_said_with_advice(prompt: Prompt) -> None:
    shown = prompt.run("away.f()")
    assert "NotSent: hello() was not sent: no agent at tcp://127.0.0.1:" in shown
    assert "hint: is the agent running, and does it listen on this address?" in shown


def test_an_unknown_object_is_said_with_the_one_that_was_meant(prompt: Prompt) -> None:
    shown = prompt.run("Proxy(URL, 'srbx').listdev()")
    assert "KeyError: no object 'srbx'; this agent has: srbs, foo, bench, animals.angry" in shown
    assert "hint: did you mean 'srbs'?" in shown
    assert "has no object 'fooo'; did you mean 'foo'?" in prompt.run("agent.fooo")


@pytest.mark.parametrize("line", ["foo.div_two(2, 0)", "away.f()", "bench.sleep(9, timeout=0.05)"])
def test_of_our_own_frames_only_the_last_is_shown(prompt: Prompt, line: str) -> None:
    shown = prompt.run(line)
    assert shown.count("File ") - shown.count('  File "') == 1, shown
    assert "skipping hidden" in shown


def test_the_shortest_mode_shows_the_fact_and_the_hint(prompt: Prompt) -> None:
    prompt.run("%xmode Minimal")
    try:
        shown = prompt.run("away.f()")
    finally:
        prompt.run("%xmode Context")
    fact = r"NotSent: hello\(\) was not sent: no agent at tcp://127.0.0.1:\d+ for 0.3 s\n"
    assert re.search(fact + r"hint: is the agent running", shown)
    assert "File" not in shown


# Ctrl-C.


def test_ctrl_c_during_a_long_call(prompt: Prompt) -> None:
    prompt.type("print('call' + 'ing'); bench.sleep(15)\r")
    prompt.read_until("calling")
    began = time.monotonic()
    prompt.type(CTRL_C)
    prompt.number += 1
    assert "KeyboardInterrupt" in prompt.read_until(f"In [{prompt.number}]:")
    assert time.monotonic() - began < 5
    assert re.search(r"Out\[\d+\]: 2\s", prompt.run("foo.sub_two(5, 3)"))


def test_ctrl_c_while_the_agent_is_away(prompt: Prompt) -> None:
    prompt.type("print('wait' + 'ing'); away.with_timeout(60).f()\r")
    prompt.read_until("waiting")
    prompt.type(CTRL_C)
    prompt.number += 1
    assert "KeyboardInterrupt" in prompt.read_until(f"In [{prompt.number}]:")


@pytest.mark.parametrize("line", ["await AsyncProxy(URL, 'bench').sleep(15)", "slow.result()"])
def test_ctrl_c_while_another_waits_for_us(prompt: Prompt, line: str) -> None:
    """In the event loop, and in a future: the call is another's, the prompt is ours again."""
    prompt.run("slow = bench.call_async('sleep', 15)")
    prompt.type(f"print('call' + 'ing'); {line}\r")
    prompt.read_until("calling")
    prompt.type(CTRL_C)
    prompt.number += 1
    assert "KeyboardInterrupt" in prompt.read_until(f"In [{prompt.number}]:")
    assert re.search(r"Out\[\d+\]: 2\s", prompt.run("foo.sub_two(5, 3)"))


# Notebooks.


def test_a_notebook_shows_a_table(prompt: Prompt) -> None:
    prompt.run("from IPython.core.formatters import HTMLFormatter")
    shown = prompt.run("HTMLFormatter()(srbs)")
    assert "<table>" in shown
    assert "read_uint" in shown
