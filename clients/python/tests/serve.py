"""A server in a process of its own: serve.py URL VARIANT; says where it listens."""

from __future__ import annotations

import sys
import time

from proximity import Server


class Steady:
    """The same in every variant."""

    def double(self, x: int) -> int:
        """Doubles."""
        return 2 * x

    def sleep(self, seconds: float) -> float:
        time.sleep(seconds)
        return seconds


class VariantA(Steady):
    def only_a(self) -> str:
        return "a"


class VariantB(Steady):
    def only_b(self) -> str:
        return "b"


server = Server(sys.argv[1])
server.expose("thing", {"a": VariantA, "b": VariantB}[sys.argv[2]]())
print(f"listening {server.url}", flush=True)
server.run()
