"""A client of the published wire in twenty lines: pyzmq, msgpack, and nothing of ours.

Calls what standard input asks for, a JSON list [object, method, arguments] a line, and prints each reply as JSON.
"""

import base64
import json
import sys

import msgpack
import zmq

socket = zmq.Context().socket(zmq.REQ)
socket.setsockopt(zmq.LINGER, 0)
socket.setsockopt(zmq.RCVTIMEO, 30_000)
socket.connect(sys.argv[1])
for line in sys.stdin:
    name, proc, args = json.loads(line)
    socket.send(msgpack.packb({"name": name, "proc": proc, "args": args, "kwargs": {}}))
    reply = msgpack.unpackb(socket.recv())
    print(json.dumps(reply, default=lambda raw: {"__bytes__": base64.b64encode(raw).decode()}), flush=True)
