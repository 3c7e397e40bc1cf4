/**
 * One WebSocket to the server that served this page, kept open.
 *
 * It carries frames, matches answers to calls, measures the round trip, and comes back after a loss
 * with jittered waits. It knows no page: who subscribes again, and from where, is the caller's.
 */

import { parse, print } from "./json.js";

/** The first wait after a loss is at most this; each further one doubles. */
const BACKOFF_BASE_MS = 250;
/** Longer than this nobody should stare at a table that does not move. */
const BACKOFF_MAX_MS = 10_000;
/** How often we ask for a `pong`; an answer not there by the next time means the line is dead. */
const PING_EVERY_MS = 5_000;
/** The first ping waits until the first page is through, else it would measure that instead. */
const FIRST_PING_MS = 1000;
/** The server gives up on an RPC after 10 s; waiting a little longer leaves the word to it. */
const RPC_TIMEOUT_MS = 15_000;
/** Calls that may wait for an answer at once: as many as the server runs for one session. */
const MAX_CALLS = 32;
/** The server's word that coming back is of no use. */
const CLOSE_REFUSED = 1008;

/**
 * @typedef {{ kind: "connecting" }
 *   | { kind: "open" }
 *   | { kind: "waiting", retryAt: number, why: string }
 *   | { kind: "refused", why: string }} ConnectionState
 *
 * @typedef {{ data: any, lsn: string | null, tookMs: number }} Answer
 *
 * @typedef {object} Handlers
 * @property {(frame: any) => void} onFrame
 * @property {(direction: "in" | "out", text: string, frame: any) => void} onTraffic
 * @property {(state: ConnectionState) => void} onState
 * @property {(ms: number) => void} onRoundTrip
 *
 * @typedef {object} Call
 * @property {(answer: Answer) => void} resolve
 * @property {(refusal: Refusal) => void} reject
 * @property {number} startedAt
 * @property {ReturnType<typeof setTimeout>} timer
 */

/** An answer that is a no: a stable code and a sentence. */
export class Refusal extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Connection {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<string, Call>} */
  #calls = new Map();
  #serial = 0;
  #failures = 0;
  #pingAt = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pingTimer;

  /**
   * @param {{ url: string, protocols: string[] }} address
   * @param {Handlers} handlers
   */
  constructor(address, handlers) {
    this.address = address;
    this.handlers = handlers;
  }

  /** Opens the socket, now, whatever was before. */
  connect() {
    this.#drop();
    this.handlers.onState({ kind: "connecting" });
    const { url, protocols } = this.address;
    const socket = new WebSocket(url, protocols);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#message(event.data));
    socket.addEventListener("close", (event) => this.#closed(socket, event));
  }

  /**
   * Changes who connects, and reconnects.
   *
   * @param {{ url: string, protocols: string[] }} address
   */
  moveTo(address) {
    this.address = address;
    this.#failures = 0;
    this.connect();
  }

  /** Closes the socket as a lost network would, so that the way back can be watched. */
  interrupt() {
    this.#socket?.close();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /**
   * Sends a frame if the socket is open; a frame for a closed one has no meaning later.
   *
   * @param {any} frame
   */
  send(frame) {
    if (!this.isOpen) return;
    const text = print(frame);
    this.#socket?.send(text);
    this.handlers.onTraffic("out", text, frame);
  }

  /**
   * Calls an SQL procedure.
   *
   * @param {string} method
   * @param {{ table?: string, payload?: any }} [args]
   * @returns {Promise<Answer>}
   */
  rpc(method, { table, payload } = {}) {
    if (!this.isOpen) {
      return Promise.reject(new Refusal("not_connected", "There is no connection right now."));
    }
    if (this.#calls.size >= MAX_CALLS) {
      return Promise.reject(new Refusal("too_many_calls", "Too many calls wait for an answer."));
    }
    this.#serial += 1;
    const correlationId = `console-${this.#serial}`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(correlationId)?.reject(
          new Refusal(
            "no_answer",
            `${method} was not answered in time; it may still have happened.`,
          ),
        );
      }, RPC_TIMEOUT_MS);
      this.#calls.set(correlationId, { resolve, reject, timer, startedAt: performance.now() });
      this.send({ op: "rpc", method, table, payload, correlationId });
    });
  }

  #opened() {
    this.#failures = 0;
    this.#pingAt = 0;
    this.#pingTimer = setTimeout(() => this.#ping(), FIRST_PING_MS);
    this.handlers.onState({ kind: "open" });
  }

  #ping() {
    if (this.#pingAt !== 0) {
      this.interrupt();
      return;
    }
    this.#pingAt = performance.now();
    this.#pingTimer = setTimeout(() => this.#ping(), PING_EVERY_MS);
    this.send({ op: "ping" });
  }

  /** @param {any} data */
  #message(data) {
    if (typeof data !== "string") {
      // Never asked for, so it is not ours to read; the frames pane shows that it came.
      this.handlers.onTraffic("in", "", { op: "binary" });
      return;
    }
    let frame;
    try {
      frame = parse(data);
    } catch {
      // Never guess at half a frame: whatever it changed is unknown, so the page starts over.
      frame = { op: "unreadable" };
    }
    this.handlers.onTraffic("in", data, frame);
    if (frame === null || typeof frame !== "object") return;
    if (frame.op === "pong") this.#ponged();
    else if (!this.#answered(frame)) this.handlers.onFrame(frame);
  }

  #ponged() {
    if (this.#pingAt !== 0) this.handlers.onRoundTrip(performance.now() - this.#pingAt);
    this.#pingAt = 0;
  }

  /**
   * @param {any} frame
   * @returns {boolean} whether a call waited for it
   */
  #answered(frame) {
    if (frame.op !== "rpcResult" && frame.op !== "error") return false;
    const call = this.#settle(String(frame.correlationId));
    if (call === undefined) return frame.op === "rpcResult";
    if (frame.op === "rpcResult" && frame.ok === true) {
      const lsn = frame.lsn === undefined ? null : String(frame.lsn);
      call.resolve({ data: frame.data, lsn, tookMs: performance.now() - call.startedAt });
    } else {
      call.reject(refusalOf(frame));
    }
    return true;
  }

  /** @param {string} correlationId */
  #settle(correlationId) {
    const call = this.#calls.get(correlationId);
    if (call === undefined) return undefined;
    clearTimeout(call.timer);
    this.#calls.delete(correlationId);
    return call;
  }

  /**
   * @param {WebSocket} socket
   * @param {CloseEvent} event
   */
  #closed(socket, event) {
    if (socket !== this.#socket) return;
    this.#drop();
    if (event.code === CLOSE_REFUSED) {
      this.handlers.onState({ kind: "refused", why: event.reason || "The server refused." });
      return;
    }
    // Full jitter: after a server restart its clients come back spread over the whole wait.
    const waitMs = Math.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_BASE_MS * 2 ** this.#failures);
    this.#failures += 1;
    const why =
      event.reason || (event.code === 1006 ? "connection lost" : `closed (${event.code})`);
    this.#retryTimer = setTimeout(() => this.connect(), waitMs);
    this.handlers.onState({ kind: "waiting", retryAt: Date.now() + waitMs, why });
  }

  /** Forgets the socket, its timers and its calls. */
  #drop() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#pingTimer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
    const why = "The connection was lost before the answer; the call may still have happened.";
    for (const id of [...this.#calls.keys()]) {
      this.#settle(id)?.reject(new Refusal("connection_lost", why));
    }
  }
}

/** @param {any} frame */
function refusalOf(frame) {
  const { error } = frame;
  const isObject = error !== null && typeof error === "object";
  const code = frame.code ?? (isObject ? error.code : undefined) ?? "rpc_failed";
  const message = frame.message ?? (isObject ? error.message : error) ?? "The call failed.";
  return new Refusal(String(code), String(message));
}
