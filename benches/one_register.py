"""Prints how many microseconds a read of one register takes, the median of many.

usage: one_register.py agent|katcp|aiokatcp ADDRESS
"""

import asyncio
import statistics
import sys
import time

READS = 2000
WARM_UP = 200
REGISTER = "sys_board_id"
VALUE = 0xB00B


def told(times):
    print(statistics.median(times[WARM_UP:]) * 1e6)


def agent(address):
    import msgpack
    import zmq

    line = zmq.Context().socket(zmq.REQ)
    line.connect(address)
    times = []
    for _ in range(WARM_UP + READS):
        begun = time.perf_counter()
        request = {"name": "srbs", "proc": "read_uint", "args": [REGISTER], "kwargs": {}}
        line.send(msgpack.packb(request))
        value = msgpack.unpackb(line.recv())
        times.append(time.perf_counter() - begun)
        assert value == VALUE, value
    told(times)


def katcp(address):
    import katcp

    host, port = address.rsplit(":", 1)
    client = katcp.BlockingClient(host, int(port))
    client.start(timeout=10)
    assert client.wait_protocol(10)
    times = []
    for _ in range(WARM_UP + READS):
        begun = time.perf_counter()
        reply, _ = client.blocking_request(katcp.Message.request("read", REGISTER, "0", "4"))
        value = int.from_bytes(reply.arguments[1], "big")
        times.append(time.perf_counter() - begun)
        assert value == VALUE, value
    client.stop()
    client.join()
    told(times)


async def aiokatcp(address):
    import aiokatcp

    host, port = address.rsplit(":", 1)
    client = await aiokatcp.Client.connect(host, int(port))
    times = []
    for _ in range(WARM_UP + READS):
        begun = time.perf_counter()
        (data,), _ = await client.request("read", REGISTER, 0, 4)
        value = int.from_bytes(data, "big")
        times.append(time.perf_counter() - begun)
        assert value == VALUE, value
    client.close()
    await client.wait_closed()
    told(times)


kind, address = sys.argv[1:]
if kind == "aiokatcp":
    asyncio.run(aiokatcp(address))
else:
    {"agent": agent, "katcp": katcp}[kind](address)
