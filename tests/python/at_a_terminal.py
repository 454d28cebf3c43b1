"""Runs a program at a pseudo-terminal: types, and waits for what must appear.

usage: at_a_terminal.py '[["typed", "expected", ...], ...]' PROGRAM [ARG...]

U+FFFD is typed as a byte that is not UTF-8.
"""

import json
import os
import pty
import select
import signal
import sys
import time

PATIENCE = 20.0  # seconds that an expected text may take to appear


def main():
    steps = json.loads(sys.argv[1])
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.argv[2], sys.argv[2:])
    for typed, *expected in steps:
        os.write(terminal, typed.encode().replace("\ufffd".encode(), b"\xff"))
        seen, found = "", 0
        deadline = time.monotonic() + PATIENCE
        for text in expected:
            while text not in seen[found:]:
                left = max(0.0, deadline - time.monotonic())
                ready, _, _ = select.select([terminal], [], [], left)
                if not ready:
                    sys.exit(f"typed {typed!r}, and {text!r} did not appear in {seen!r}")
                seen += os.read(terminal, 65536).decode(errors="replace")
            found = seen.index(text, found) + len(text)
    deadline = time.monotonic() + PATIENCE
    while True:  # until it ends, or its terminal's buffer would be full
        ready, _, _ = select.select([terminal], [], [], 1.0)
        if not ready and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            sys.exit(f"it did not end after {typed!r}")
        try:
            if not ready:
                # Ctrl-C has the kernel throw away what was typed right behind it.
                os.write(terminal, typed.encode())
            elif not os.read(terminal, 65536):
                break
        except OSError:
            break
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status))


main()
