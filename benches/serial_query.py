"""Prints how many microseconds a query of an instrument takes, the median of many; and is that instrument.

usage: serial_query.py instrument
       serial_query.py agent ADDRESS | direct PATH

The instrument has a pseudo-terminal, which one at a time may have: the agent opens it for its turn.
"""

import os
import pty
import statistics
import sys
import time
import tty

QUERIES = 1000
WARM_UP = 100
QUESTION, ANSWER = "FREQ?", "1420405751.768"


def timed(query):
    times = []
    for _ in range(WARM_UP + QUERIES):
        begun = time.perf_counter()
        answer = query()
        times.append(time.perf_counter() - begun)
        assert answer == ANSWER, answer
    print(statistics.median(times[WARM_UP:]) * 1e6)


def instrument():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    print("listening", os.ttyname(theirs), flush=True)
    heard = b""
    while True:
        heard += os.read(ours, 4096)
        while b"\n" in heard:
            line, _, heard = heard.partition(b"\n")
            # An empty line is what ends a command that was cut short.
            if line:
                os.write(ours, (ANSWER if line == QUESTION.encode() else "what?").encode() + b"\n")


def agent(address):
    import msgpack
    import zmq

    line = zmq.Context().socket(zmq.REQ)
    line.connect(address)

    def call(proc, *args):
        request = {"name": "synth", "proc": proc, "args": args, "kwargs": {}}
        line.send(msgpack.packb(request))
        return msgpack.unpackb(line.recv())

    call("open")
    timed(lambda: call("query", QUESTION))
    call("close")


def direct(path):
    import serial

    with serial.Serial(path, 115200, timeout=1) as port:

        def query():
            port.write(QUESTION.encode() + b"\n")
            return port.read_until(b"\n")[:-1].decode()

        timed(query)


kind, *where = sys.argv[1:]
{"instrument": instrument, "agent": agent, "direct": direct}[kind](*where)
