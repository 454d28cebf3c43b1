"""Agents whose name takes its time to be found, as where no server of names answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from played import Played

SLOW = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    if (node && !strcmp(node, "nowhere.invalid")) {
        write(1, "asked\\n", 6);
        sleep(60);
        return EAI_AGAIN;
    }
    typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    return ((lookup *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, found);
}
"""
PROGRAM = """
import sys
from proximity import NotSent, Proxy

url = sys.argv[1]
away = Proxy("tcp://nowhere.invalid:5555", "foo", timeout=0.3)
for ask in (away.call_async("look").result, lambda: away.look(), lambda: away.look()):
    try:
        ask()
    except NotSent as error:
        print("not sent:", error, flush=True)
assert Proxy(url, "foo", timeout=5).look() == "seen"
assert Proxy(url, "foo", timeout=5).call_async("look").result() == "seen"
print("seen", flush=True)
"""


@pytest.fixture
def slow_lookup(tmp_path: Path) -> Path:
    source, library = tmp_path / "slow.c", tmp_path / "slow.so"
    source.write_text(SLOW)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def test_a_name_that_is_slow_to_find_holds_up_no_other_agent(slow_lookup: Path) -> None:
    """Nor the end of the program."""
    environment = dict(os.environ, LD_PRELOAD=str(slow_lookup))
    with Played(lambda asked: asked.send(ok="seen")) as agent:
        told = subprocess.run(
            [sys.executable, "-c", PROGRAM, agent.url],
            env=environment,
            stdout=subprocess.PIPE,
            timeout=30,
            check=True,
            text=True,
        ).stdout.splitlines()
    assert told[0] == "asked"
    assert told[-1] == "seen"
    assert sum("nowhere.invalid:5555" in line for line in told) == 3


FEW = """
import resource, sys
from proximity import NotSent, Proxy
from proximity._dealer import _contexts

least = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (least, least))
proxies = []
for name in range(60):
    proxies.append(Proxy(f"tcp://name-{name}.invalid:5555", "foo", timeout=0.01))
    try:
        proxies[-1].look()
    except NotSent:
        pass
print(len(_contexts))
"""


@pytest.mark.parametrize("descriptors", [40, 64, 93, 95, 98, 128, 200, 1000])
def test_many_names_take_no_more_than_there_is(descriptors: int) -> None:
    """libzmq ends a program that has no descriptor for a context; no error of its own is raised."""
    told = subprocess.run(
        [sys.executable, "-c", FEW, str(descriptors)],
        stdout=subprocess.PIPE,
        timeout=60,
        check=True,
        text=True,
    )
    assert int(told.stdout) <= 16
