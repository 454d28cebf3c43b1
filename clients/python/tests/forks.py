"""A server that can be killed and started again within milliseconds: forks.py URL.

Forks a child that serves; kills it with SIGKILL at a line "kill" on its input and forks another at
a line "start". Says where the child listens.
"""

from __future__ import annotations

import os
import signal
import sys

from proximity import Server


class Thing:
    def double(self, x: int) -> int:
        return 2 * x

    def add(self, x: int, y: int) -> int:
        return x + y

    def pid(self) -> int:
        return os.getpid()


def serve(url: str) -> int:
    """Forks a server; gives its process."""
    child = os.fork()
    if not child:
        server = Server(url)
        server.expose("thing", Thing())
        print(f"listening {server.url}", flush=True)
        server.run()
        os._exit(0)
    return child


child = serve(sys.argv[1])
for line in sys.stdin:
    if line.strip() == "kill":
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print("killed", flush=True)
    else:
        child = serve(sys.argv[1])
os.kill(child, signal.SIGKILL)
