/**
 * A fake `tidegate serve`, for tests without the binary: static console, WebSocket, RPC.
 *
 * Run by itself it serves a small moving demo: `node fake-server.mjs [PORT]`.
 */

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { Engine, Refused, parse, print } from "./fake-engine.mjs";
import { fillDemo } from "./fake-demo.mjs";

const PUBLIC = new URL("../public/", import.meta.url);
const POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Starts a server on a free port of the loopback. */
export async function startFake({ port = 0, demo = true } = {}) {
  const engine = new Engine();
  const http = createServer(serveFile);
  const sockets = new WebSocketServer({
    server: http,
    maxPayload: 1024 * 1024,
    handleProtocols: (offered) => (offered.has("tidegate") ? "tidegate" : false),
  });
  sockets.on("connection", (socket, request) => new Session(engine, socket, request));
  await new Promise((resolve) => http.listen(port, "127.0.0.1", resolve));
  const stopDemo = demo ? fillDemo(engine) : () => {};
  const cut = () => sockets.clients.forEach((socket) => socket.terminate());
  // As a server would that was killed: the rows stay, what a resume needs is gone.
  const restart = async () => {
    cut();
    engine.forget();
  };
  const stop = async () => {
    stopDemo();
    cut();
    await new Promise((resolve) => http.close(resolve));
  };
  return { url: `http://127.0.0.1:${http.address().port}`, engine, restart, stop };
}

async function serveFile(request, response) {
  const { pathname } = new URL(request.url, "http://localhost");
  const name = pathname === "/" ? "index.html" : pathname.slice(1);
  response.setHeader("content-security-policy", POLICY);
  try {
    if (!/^[a-z.-]+$/.test(name)) throw new Error("no such file");
    const body = await readFile(new URL(name, PUBLIC));
    response.setHeader("content-type", TYPES[extname(name)] ?? "application/octet-stream");
    response.end(body);
  } catch {
    response.statusCode = 404;
    response.end("not found");
  }
}

class Session {
  /** hashId → what ends the subscription */
  subscriptions = new Map();

  constructor(engine, socket, request) {
    const { searchParams } = new URL(request.url, "http://localhost");
    this.engine = engine;
    this.socket = socket;
    this.tenant = searchParams.get("tenant") ?? "demo";
    socket.on("message", (data, isBinary) => isBinary || this.message(String(data)));
    socket.on("close", () => this.subscriptions.forEach((end) => end()));
    this.send({
      type: "welcome",
      data: { connectionId: "fake", connectedClients: 1 },
      timestamp: Date.now(),
    });
  }

  send(frame) {
    this.socket.send(print(frame));
  }

  message(text) {
    let frame;
    try {
      frame = parse(text);
      this.act(frame);
    } catch (error) {
      const { code = "bad_op", message } = error;
      const { hashId, correlationId, method } = frame ?? {};
      if (frame?.op === "rpc")
        this.send({ op: "rpcResult", method, correlationId, ok: false, error: message, code });
      else this.send({ op: "error", code, message, retry: false, hashId });
    }
  }

  act(frame) {
    switch (frame.op) {
      case "ping":
        return this.send({ op: "pong" });
      case "subscribe":
        return this.subscribe(frame);
      case "unsubscribe":
        this.subscriptions.get(frame.hashId)?.();
        return this.subscriptions.delete(frame.hashId);
      case "sync":
        if (!this.subscriptions.has(frame.hashId))
          throw new Refused("unknown_subscription", "no such subscription");
        return this.send({ op: "synced", hashId: frame.hashId, lsn: frame.lsn });
      case "rpc":
        return this.rpc(frame);
      default:
        throw new Refused("bad_op", `there is no op ${frame.op}`);
    }
  }

  subscribe({ table, hashId, query, resume }) {
    if (!(query.limit >= 1 && query.limit <= 1000))
      throw new Refused("bad_limit", "limit is 1 to 1000");
    this.subscriptions.get(hashId)?.();
    const channel = this.engine.channel(this.tenant, table, query);
    this.send({ op: "ack", hashId });
    const missing = resume === undefined ? null : this.engine.since(channel, resume);
    if (missing === null) {
      const reason = resume === undefined ? "subscribe" : "unrecoverable";
      this.send({ ...this.engine.snapshot(channel, reason), hashId });
    } else {
      const cursor = { lsn: String(this.engine.lsn), position: resume };
      this.send({ op: "resumed", hashId, cursor });
      for (const diff of missing) this.send({ ...diff, hashId });
    }
    const listener = (diff) => this.send({ ...diff, hashId });
    channel.listeners.add(listener);
    this.subscriptions.set(hashId, () => channel.listeners.delete(listener));
  }

  rpc({ method, table, payload = {}, correlationId }) {
    const answer = this.call(method, table, payload);
    this.send({ op: "rpcResult", method, correlationId, ok: true, ...answer });
  }

  call(method, tableName, payload) {
    const { engine, tenant } = this;
    const table = () => engine.table(tenant, tableName);
    switch (method) {
      case "LIST_TABLES":
        return { data: engine.list(tenant) };
      case "CREATE_TABLE":
        engine.create(tenant, definitionOf(payload.definition));
        return { data: true };
      case "ADD_SINGLE": {
        const { row, lsn } = engine.insert(table(), payload.row);
        return { data: [row], lsn };
      }
      case "UPDATE_SINGLE": {
        const result = engine.update(table(), payload.primaryId, payload.updates);
        return result === null ? { data: [] } : { data: [result.row], lsn: result.lsn };
      }
      case "DELETE_ROW": {
        const lsn = engine.remove(table(), payload.primaryId);
        return lsn === null ? { data: false } : { data: true, lsn };
      }
      case "GET_DATA":
        return { data: { rows: [...table().rows.values()], cursor: {} } };
      default:
        throw new Refused("bad_command", `there is no method ${method}`);
    }
  }
}

const TYPE_NAMES = {
  bigInt: "bigint",
  doublePrecision: "double",
  boolean_: "boolean",
  boolean: "boolean",
  jsonb: "json",
};

function definitionOf({ name, columns }) {
  return {
    name,
    primaryKey: columns.filter((it) => it.constraints?.includes("primaryKey")).map((it) => it.name),
    columns: columns.map(({ name: column, dataType, isNullable }) => ({
      name: column,
      type: TYPE_NAMES[dataType] ?? dataType,
      nullable: isNullable !== false,
    })),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await startFake({ port: Number(process.argv[2] ?? 7000) });
  console.log(`the fake console is at ${url}`);
}
