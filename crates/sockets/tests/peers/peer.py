"""A WebSocket client or server on `websockets`, told what to do by lines of JSON on its standard input.

    peer.py client URL [NAME VALUE]...    the pairs are headers of the request
    peer.py server

What happens is told by lines of JSON on the standard output. `id` is the number of the connection.
"""

import asyncio
import http
import json
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode

CONNECTIONS = {}
# What the server answers to the next request instead of an upgrade.
REFUSE = []


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def watch_control_frames(connection, number):
    """Tells of pings and pongs, which the library handles by itself."""
    process = connection.process_event

    def watched(event):
        names = {Opcode.PING: "ping", Opcode.PONG: "pong"}
        name = names.get(getattr(event, "opcode", None))
        if name:
            tell(name, id=number, data=bytes(event.data).decode())
        process(event)

    connection.process_event = watched


async def read(connection, number):
    try:
        async for message in connection:
            if isinstance(message, bytes):
                tell("binary", id=number, data=message.decode())
            else:
                tell("text", id=number, data=message)
    except ConnectionClosed:
        pass
    await connection.wait_closed()
    tell("closed", id=number, code=connection.close_code, reason=connection.close_reason)


async def act(command):
    number = command.get("id", max(CONNECTIONS, default=0))
    connection = CONNECTIONS.get(number)
    what, data = command["do"], command.get("data", "")
    if what == "refuse":
        REFUSE.append(command["status"])
    elif what == "text":
        await connection.send(data)
    elif what == "binary":
        await connection.send(data.encode())
    elif what == "fragments":
        await connection.send(data)
    elif what == "ping":
        await connection.ping(data)
    elif what == "pong":
        await connection.pong(data)
    elif what == "close":
        await connection.close(command["code"], command.get("reason", ""))
    elif what == "drop":
        connection.transport.abort()
    else:
        raise ValueError(f"unknown command {command}")


async def commands():
    reader = asyncio.StreamReader(limit=1 << 24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    pending = set()
    while line := await reader.readline():
        command = json.loads(line)
        try:
            if command["do"] == "close":
                # It waits for the other side, which other commands may make move.
                task = asyncio.create_task(act(command))
                pending.add(task)
                task.add_done_callback(pending.discard)
            else:
                await act(command)
        except ConnectionClosed:
            tell("failed", do=command["do"])


async def client(url, headers):
    try:
        connection = await connect(
            url,
            additional_headers=list(zip(headers[::2], headers[1::2])),
            max_size=None,
            proxy=None,
        )
    except InvalidStatus as error:
        tell("refused", status=error.response.status_code)
        return
    CONNECTIONS[0] = connection
    watch_control_frames(connection, 0)
    tell("open", id=0, extensions=connection.response.headers.get("Sec-WebSocket-Extensions", ""))
    reading = asyncio.create_task(read(connection, 0))
    await commands()
    await connection.close()
    await reading


async def server():
    async def handle(connection):
        number = len(CONNECTIONS)
        CONNECTIONS[number] = connection
        watch_control_frames(connection, number)
        headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        tell("joined", id=number, path=connection.request.path, headers=headers)
        await read(connection, number)

    def request(connection, _):
        if REFUSE:
            return connection.respond(http.HTTPStatus(REFUSE.pop(0)), "")

    async with serve(handle, "127.0.0.1", 0, process_request=request, max_size=None) as listening:
        tell("listening", port=listening.sockets[0].getsockname()[1])
        await commands()


if sys.argv[1] == "server":
    asyncio.run(server())
else:
    asyncio.run(client(sys.argv[2], sys.argv[3:]))
