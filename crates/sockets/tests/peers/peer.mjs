// A WebSocket client or server on `ws`, told what to do by lines of JSON on its standard input.
//
//     peer.mjs WS client URL [NAME VALUE]...    the pairs are headers of the request
//     peer.mjs WS server
//
// WS is the file of the library. What happens is told by lines of JSON on the standard output, as `peer.py` does.

import { createServer } from "node:http";
import { createInterface } from "node:readline";

const [, , library, role, ...rest] = process.argv;
const { WebSocket, WebSocketServer } = await import(library);

const connections = [];
// What the server answers to the next request instead of an upgrade.
const refuse = [];

const tell = (event, fields) => console.log(JSON.stringify({ event, ...fields }));

function watch(connection, id) {
  connections[id] = connection;
  connection.on("message", (data, binary) => tell(binary ? "binary" : "text", { id, data: data.toString() }));
  connection.on("ping", (data) => tell("ping", { id, data: data.toString() }));
  connection.on("pong", (data) => tell("pong", { id, data: data.toString() }));
  connection.on("error", (error) => tell("error", { id, reason: error.message }));
  connection.on("close", (code, reason) => tell("closed", { id, code, reason: reason.toString() }));
}

function act(command) {
  const connection = connections[command.id ?? connections.length - 1];
  const data = command.data ?? "";
  switch (command.do) {
    case "refuse":
      return refuse.push(command.status);
    case "text":
      return connection.send(data);
    case "binary":
      return connection.send(Buffer.from(data));
    case "fragments":
      return data.forEach((part, n) => connection.send(part, { fin: n === data.length - 1 }));
    case "ping":
      return connection.ping(data);
    case "pong":
      return connection.pong(data);
    case "close":
      return connection.close(command.code, command.reason);
    case "drop":
      return connection.terminate();
    default:
      throw new Error(`unknown command ${JSON.stringify(command)}`);
  }
}

function commands() {
  const lines = createInterface({ input: process.stdin });
  lines.on("line", (line) => act(JSON.parse(line)));
  lines.on("close", () => process.exit(0));
}

if (role === "server") {
  const http = createServer();
  const server = new WebSocketServer({ noServer: true });
  http.on("upgrade", (request, socket, head) => {
    if (refuse.length > 0) {
      socket.end(`HTTP/1.1 ${refuse.shift()} Refused\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
      return;
    }
    server.handleUpgrade(request, socket, head, (connection) => {
      const id = connections.length;
      watch(connection, id);
      tell("joined", { id, path: request.url, headers: request.headers });
    });
  });
  http.listen(0, "127.0.0.1", () => {
    tell("listening", { port: http.address().port });
    commands();
  });
} else {
  const [url, ...pairs] = rest;
  const headers = {};
  for (let n = 0; n < pairs.length; n += 2) headers[pairs[n]] = pairs[n + 1];
  const connection = new WebSocket(url, { headers });
  connection.on("unexpected-response", (_, response) => {
    tell("refused", { status: response.statusCode });
    process.exit(0);
  });
  // Before `open`: a message can arrive with the answer to the request.
  watch(connection, 0);
  connection.on("upgrade", (response) => {
    tell("open", { id: 0, extensions: response.headers["sec-websocket-extensions"] ?? "" });
  });
  connection.on("open", commands);
}
