"""Threads, forks, interrupts, and agents that die."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from conftest import Process, free_url, until
from objects import Bench
from proximity import CallError, NotSent, OutcomeUnknown, Proxy, Server, _session
from proximity._codec import Packer
from proximity._session import Target

HERE = Path(__file__).parent


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))


class Forks:
    """Talks to forks.py."""

    name, method = "thing", "add"

    def __init__(self, url: str) -> None:
        self.url = url
        command = [sys.executable, str(HERE / "forks.py"), url]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self._expect("listening")

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(word), line

    def kill(self) -> None:
        self._tell("kill", "killed")

    def start(self) -> None:
        self._tell("start", "listening")

    def _tell(self, word: str, answer: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self._expect(answer)

    def close(self) -> None:
        self.process.communicate(timeout=20)


@pytest.fixture
def forks() -> Iterator[Forks]:
    forks = Forks(free_url())
    yield forks
    forks.close()


class Caller(threading.Thread):
    """Keeps calling through one proxy, and notes everything that is not as promised."""

    timeout_s = 0.5

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call
        self.right = 0
        self.typed = 0
        self.wrong: list[str] = []
        self.done = threading.Event()
        self.longest = 0.0

    def run(self) -> None:
        number = 0
        while not self.done.is_set():
            number += 1
            began = time.monotonic()
            try:
                value = self.call(number, number)
                if value == 2 * number:
                    self.right += 1
                else:
                    self.wrong.append(f"{number} + {number} is {value!r}")
            except CallError:
                self.typed += 1
            except BaseException as error:
                self.wrong.append(f"{number} + {number} raised {error!r}")
            took = time.monotonic() - began
            self.longest = max(self.longest, took)
            if took > self.timeout_s + 0.1:
                self.wrong.append(f"{number} + {number} took {took:.3f} s")


def keep_calling(forks: Any, cycles: int) -> None:
    """Kills and restarts what serves, under one proxy that two threads keep calling."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    with Proxy(forks.url, forks.name, timeout=Caller.timeout_s) as proxy:
        getattr(proxy, forks.method)(1, 1)
        callers = [Caller(getattr(proxy, forks.method)) for _ in range(2)]
        for caller in callers:
            caller.start()
        before = fds()
        try:
            for cycle in range(cycles):
                counts = [caller.right for caller in callers]
                until(
                    lambda counts=counts: all(c.right > n for c, n in zip(callers, counts)),
                    f"calls succeed after restart {cycle}; seed {seed}",
                )
                forks.kill()
                # Sometimes the callers meet the gap, sometimes they do not.
                if rng.random() < 0.3:
                    time.sleep(rng.random() * 0.02)
                forks.start()
        finally:
            for caller in callers:
                caller.done.set()
            for caller in callers:
                caller.join()
        after = fds()
    wrong = [line for caller in callers for line in caller.wrong]
    assert not wrong, f"seed {seed}: {wrong[:5]}"
    assert sum(caller.right for caller in callers) >= 2 * cycles
    # Each caller may have used a second one, to ask what the method does whose answer was lost.
    assert after <= before + 16, "connections are not left behind"


def test_a_server_killed_and_restarted_200_times_under_one_proxy(forks: Forks) -> None:
    keep_calling(forks, 200)


def test_a_proxy_may_be_used_from_many_threads(proxy: Proxy) -> None:
    wrong: list[Any] = []

    def work(base: int) -> None:
        for number in range(base, base + 100):
            try:
                if proxy.echo(number) != number:
                    wrong.append(number)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threads_do_not_wait_for_each_other(server: Server, proxy: Proxy, bench: Bench) -> None:
    proxy.add(1)
    held = threading.Thread(target=proxy.hold)
    held.start()
    bench.entered.acquire()
    server.expose("other", Bench())
    other = Proxy(proxy._link, "other")
    began = time.monotonic()
    for number in range(50):
        assert other.echo(number) == number
    assert time.monotonic() - began < 2
    assert held.is_alive()
    bench.gate.set()
    held.join()


def test_threads_that_share_a_proxy_wait_for_an_agent_at_the_same_time() -> None:
    with Proxy(free_url(), "thing", timeout=0.3) as proxy:
        took: list[float] = []

        def call() -> None:
            began = time.monotonic()
            with pytest.raises(NotSent):
                proxy.double(1)
            took.append(time.monotonic() - began)

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(took) == 8
        assert max(took) < 1.2, "and not one after the other"


LOCKED = """
import os, sys, threading
from proximity import Proxy

proxy = Proxy(sys.argv[1], "bench", timeout=5)
has = threading.Event()

def hold():
    with proxy.__dict__["_lock"]:
        has.set()
        threading.Event().wait()

threading.Thread(target=hold, daemon=True).start()
has.wait()
child = os.fork()
if child == 0:
    os._exit(proxy.echo(7))
print(os.WEXITSTATUS(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_does_not_wait_for_its_parents_threads(
    server: Server, tmp_path: Path
) -> None:
    script = tmp_path / "locked.py"
    script.write_text(LOCKED)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(script), server.url]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (run.stdout, run.stderr) == ("7\n", "")


FORKED = """
import multiprocessing, os, sys
from proximity import Proxy

def work(proxy):
    for number in range(50):
        assert proxy.echo([os.getpid(), number]) == [os.getpid(), number]
        assert proxy.call_async("echo", os.getpid()).result() == os.getpid()

if __name__ == "__main__":
    proxy = Proxy(sys.argv[1], "bench", timeout=10)
    assert [proxy.count(), proxy.call_async("count").result()] == [1, 2]
    if sys.argv[2] == "fork":
        child = os.fork()
        work(proxy)
        if child == 0:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
    else:
        process = multiprocessing.get_context(sys.argv[2]).Process(target=work, args=(proxy,))
        process.start()
        process.join(30)
        assert process.exitcode == 0, process.exitcode
    work(proxy)
    print("done", proxy.count())
"""


@pytest.mark.parametrize("way", ["fork", "forkserver", "spawn"])
def test_a_proxy_may_be_used_after_fork(server: Server, way: str, tmp_path: Path) -> None:
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script), server.url, way],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, ""), run.stderr
    assert run.stdout == "done 3\n"


CROWDED = """
import resource, sys, time
from proximity import NotSent, Proxy
proxies = [Proxy(sys.argv[1], "thing", timeout=1) for _ in range(50)]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
made, told = 0, []
for proxy in proxies:
    try:
        made += proxy.double(1) == 2
    except NotSent as error:
        told.append(str(error))
assert made and made + len(told) == 50, (made, told)
assert any("can be opened: Too many open files" in text for text in told), told
for proxy in proxies[:-1]:
    proxy.close()
while True:
    try:
        print("fine", proxies[-1].double(2))
        break
    except NotSent:  # libzmq closes a moment later
        time.sleep(0.01)
"""


def test_a_process_with_no_room_for_a_connection_is_told_so() -> None:
    with Process() as served:
        run = subprocess.run(
            [sys.executable, "-c", CROWDED, served.url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (run.stdout, run.stderr) == ("fine 4\n", "")


NO_ROOM_TO_HURRY = """
import os, resource, subprocess, sys
from proximity import CallError, Proxy

forks, url = sys.argv[1:]
pipe = subprocess.PIPE
served = subprocess.Popen([sys.executable, forks, url], stdin=pipe, stdout=pipe, text=True)
heard = [served.stdout.readline()]

def tell(word):
    served.stdin.write(word + chr(10))
    served.stdin.flush()
    heard.append(served.stdout.readline())

with served, Proxy(url, "thing") as proxy:
    ways = proxy.double, lambda x, timeout: proxy.call_async("double", x, timeout=timeout).result()
    assert [way(1, timeout=10) for way in ways] == [2, 2]
    room = resource.getrlimit(resource.RLIMIT_NOFILE)
    tell("kill")
    # For what is open, and no more.
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, room[1]))
    for way in 2 * ways:
        try:
            way(2, timeout=0.2)
        except CallError:
            continue
        raise AssertionError("who answered?")
    resource.setrlimit(resource.RLIMIT_NOFILE, room)
    tell("start")
    print("fine", [way(2, timeout=10) for way in ways])
"""


def test_a_connection_lost_where_there_is_no_room_for_another_comes_back() -> None:
    run = subprocess.run(
        [sys.executable, "-c", NO_ROOM_TO_HURRY, str(HERE / "forks.py"), free_url()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("fine [4, 4]\n", "")


def interrupt_when(ready: Any) -> threading.Thread:
    """Sends Ctrl-C to the main thread as soon as `ready` returns."""

    def send() -> None:
        ready()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # type: ignore[arg-type]

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_ctrl_c_leaves_the_proxy_usable(proxy: Proxy, bench: Bench) -> None:
    proxy.add(1)
    for _ in range(3):
        sender = interrupt_when(bench.entered.acquire)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            proxy.hold()
        assert time.monotonic() - began < 2
        sender.join()
        bench.gate.set()
        assert proxy.add(2, 3) == 5
        bench.gate.clear()


def test_ctrl_c_takes_a_waiting_call_back(proxy: Proxy, server: Server, bench: Bench) -> None:
    proxy.add(1)
    held = proxy.call_async("hold")
    bench.entered.acquire()
    waiting = server._workers["bench"]._waiting
    sender = interrupt_when(lambda: until(lambda: waiting, "the call waits"))
    with pytest.raises(KeyboardInterrupt):
        proxy.count()
    sender.join()
    until(lambda: not waiting, "the call was taken back")
    bench.gate.set()
    assert held.result() == "held"
    assert proxy.count() == 1


def test_ctrl_c_while_the_agent_is_away() -> None:
    proxy = Proxy(free_url(), "thing", timeout=30)
    sender = interrupt_when(lambda: time.sleep(0.3))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        proxy.double(1)
    assert time.monotonic() - began < 5
    sender.join()
    proxy.close()


def test_an_agent_that_is_stopped_and_goes_on(forks: Forks) -> None:
    """SIGSTOP: nothing answers and nothing breaks; what was given up never runs."""
    with Proxy(forks.url, "thing", timeout=5) as proxy:
        pid = proxy.pid()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            proxy.double(1, timeout=0.3)
        assert 0.3 <= time.monotonic() - began < 2
        with pytest.raises(CallError):
            proxy.double(1, timeout=0.3)
        os.kill(pid, signal.SIGCONT)
        assert proxy.double(4) == 8


def test_a_clock_that_went_wrong_is_set_right(proxy: Proxy) -> None:
    """As after a laptop slept: the agent's clock is ahead of what was believed."""
    assert proxy.add(1) == 3
    session = proxy._link.session
    session.run.offset -= 3600.0
    assert proxy.add(2) == 4, "refused as expired, then made again"
    session.run.offset += 3600.0
    session.fresh_until = time.monotonic() - 1
    assert proxy.add(3) == 5
    assert session.fresh_until > time.monotonic() + 50


def test_an_earlier_epoch_is_found_out_and_the_call_made_again(proxy: Proxy) -> None:
    assert proxy.add(1) == 3
    proxy._link.session.run.key = b"\xa5epoch\x07"
    assert proxy.count() == 1
    assert proxy.count() == 2


def test_a_request_beside_a_hello_has_epoch_and_clock_of_the_same_run(proxy: Proxy) -> None:
    """At each step of taking a hello in, as another thread may make its request there."""
    assert proxy.echo(1) == 1
    session, target, end = proxy._link.session, Target("call", "bench", "echo"), time.monotonic()

    def request() -> tuple[int, int]:
        made: Any = msgpack.unpackb(session.request(Packer(), target, (), {}, end, 1))
        return made["epoch"], made["expires"]

    def step(frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename == _session.__file__:
            sys.settrace(None)
            seen.add(request())
            sys.settrace(step)
        return step

    before, seen = request(), set()
    # A later run, on a machine whose clock is ahead by an hour.
    hello = {"epoch": 7, "now": before[1] + 3_600_000, "objects": {}, "limits": {}}
    sys.settrace(step)
    session.greet({"v": 2, "ok": hello}, time.monotonic())
    sys.settrace(None)
    assert len({before, request()}) == 2
    assert seen == {before, request()}


def test_proxies_leave_nothing_behind(server: Server) -> None:
    def use() -> None:
        proxy = Proxy(server.url, "bench")
        assert proxy.add(1) == 3
        assert proxy.call_async("add", 1).result() == 3

    use()
    before = fds()
    for _ in range(30):
        use()
    until(lambda: fds() <= before + 2, "connections of dropped proxies are closed")
