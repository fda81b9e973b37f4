"""A billing service in Python, with nothing but the standard library: the third participant.

    python3 billing.py PORT envelope|goevent COUNT

It bills COUNT orders that `shop orders pubsub:localhost:PORT COUNT` (or `goevent:`) places, over
Redis pub/sub.
"""

import json
import socket
import sys
import time
import uuid

PREFIX = "goevent:"
PLACED, PAID, REFUSED = "order.placed.v2", "order.paid", "order.refused"
LIMIT = 10_000
ORIGIN = uuid.uuid4().hex


class Redis:
    """A connection that speaks RESP."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def send(self, *parts):
        parts = [part if isinstance(part, bytes) else part.encode() for part in parts]
        head = b"*%d\r\n" % len(parts)
        self.socket.sendall(head + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))

    def answer(self):
        line = self.file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b"$":
            return self.file.read(int(rest) + 2)[:-2]
        if kind == b":":
            return int(rest)
        raise RuntimeError(line)


def read_envelope(text):
    event = json.loads(text)
    assert event["fanfeed"] == 1 and event["name"] == PLACED and event["bus"] == PREFIX, event
    assert abs(event["time"] / 1000 - time.time()) < 60, event
    assert event["id"] and event["origin"], event
    return event["payload"]


def write_envelope(name, payload):
    return {
        "fanfeed": 1,
        "id": uuid.uuid4().hex,
        "name": name,
        "time": int(time.time() * 1000),
        "origin": ORIGIN,
        "payload": payload,
    }


def read_goevent(text):
    event = json.loads(text)
    assert set(event) == {"event_name", "event_type", "event_data", "handle_id", "timestamp"}, event
    assert event["event_name"] == PLACED, event
    # Go services look the type up by this.
    assert event["event_type"] == PLACED, event
    assert abs(event["timestamp"] - time.time()) < 60, event
    return event["event_data"]


def write_goevent(name, payload):
    return {
        "event_name": name,
        "event_type": name,
        "event_data": payload,
        "handle_id": uuid.uuid4().hex[:16],
        "timestamp": int(time.time()),
    }


def main():
    port, kind, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    read, write = {
        "envelope": (read_envelope, write_envelope),
        "goevent": (read_goevent, write_goevent),
    }[kind]
    subscriber, publisher = Redis(port), Redis(port)
    subscriber.send("SUBSCRIBE", PREFIX + PLACED)
    assert subscriber.answer()[0] == b"subscribe"
    print("ready", flush=True)
    for _ in range(count):
        kind, _, text = subscriber.answer()
        assert kind == b"message"
        order = read(text)
        number, amount = order["order"], order["amount"]
        if amount["cents"] > LIMIT:
            name, answer = REFUSED, {"order": number, "reason": "it is above the limit of the card"}
        else:
            name, answer = PAID, {"order": number, **amount}
        publisher.send("PUBLISH", PREFIX + name, json.dumps(write(name, answer)))
        publisher.answer()


main()
