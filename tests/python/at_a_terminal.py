"""Runs a program at a pseudo-terminal: types, and waits for what must appear.

usage: at_a_terminal.py '[["typed", "expected"], ...]' PROGRAM [ARG...]
"""

import json
import os
import pty
import select
import sys
import time

PATIENCE = 20.0  # seconds that an expected text may take to appear


def main():
    steps = json.loads(sys.argv[1])
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.argv[2], sys.argv[2:])
    for typed, expected in steps:
        os.write(terminal, typed.encode())
        seen = ""
        deadline = time.monotonic() + PATIENCE
        while expected and expected not in seen:
            ready, _, _ = select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                sys.exit(f"typed {typed!r}, and {expected!r} did not appear in {seen!r}")
            seen += os.read(terminal, 65536).decode(errors="replace")
    while True:  # until it ends, or its terminal's buffer would be full
        try:
            if not os.read(terminal, 65536):
                break
        except OSError:
            break
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
