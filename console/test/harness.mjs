/**
 * What a test of the page needs: a server, a browser, and a second client outside the page.
 *
 * With TIDEGATE_BIN set the server is that binary, else the fake one. The tests are the same: each
 * takes a tenant of its own, makes its tables over the public protocol, and looks at the screen.
 */

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import WebSocket from "ws";
import { parse, print } from "../public/json.js";
import { startFake } from "./fake-server.mjs";

const PATIENCE_MS = 15_000;

export const isReal = Boolean(process.env.TIDEGATE_BIN);

/**
 * @param {string[]} [more] further flags of the real server
 * @returns {Promise<{ url: string, restart: () => Promise<void>, stop: () => Promise<void> }>}
 */
export async function startServer(more = []) {
  return isReal ? startReal(resolve(process.env.TIDEGATE_BIN), more) : startFake();
}

async function startReal(binary, more) {
  const folder = await mkdtemp(join(tmpdir(), "tidegate-console-"));
  const run = (address) =>
    spawnServer(binary, ["--listen", address, "--data", join(folder, "data"), ...more], folder);
  let child = run("127.0.0.1:0");
  const end = async (signal) => {
    child.kill(signal);
    await child.exited;
  };
  const stop = async () => {
    await end("SIGTERM");
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const url = await addressFrom(child);
    const restart = async () => {
      await end("SIGKILL");
      child = run(new URL(url).host);
      await addressFrom(child);
    };
    return { url, restart, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function spawnServer(binary, args, folder) {
  // Neither a variable nor an `.env` of whoever runs the tests may change the server.
  const names = Object.keys(process.env).filter((name) => !name.startsWith("TIDEGATE_"));
  const env = Object.fromEntries(names.map((name) => [name, process.env[name]]));
  const stdio = ["ignore", "pipe", "pipe"];
  const child = spawn(binary, ["serve", ...args], { cwd: folder, env, stdio });
  child.exited = new Promise((resolve) => child.once("exit", resolve));
  return child;
}

/** The address the server prints; what it says instead, when it prints none. */
function addressFrom(child) {
  return new Promise((resolve, reject) => {
    const said = [];
    const timer = setTimeout(
      () => reject(new Error(`no address in time:\n${said.join("\n")}`)),
      PATIENCE_MS,
    );
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        // Reading goes on for ever: a full pipe would stop the server.
        if (said.length < 50) said.push(line);
        const found = /http:\/\/127\.0\.0\.1:\d+/.exec(line);
        if (found === null) return;
        clearTimeout(timer);
        resolve(found[0]);
      });
    }
    child.once("error", reject);
    child.once("exit", (code) =>
      reject(new Error(`the server ended with ${code}:\n${said.join("\n")}`)),
    );
  });
}

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export function freshTenant() {
  return `t${randomBytes(5).toString("hex")}`;
}

/** A client of the public protocol that is not the page. */
export class Outside {
  static async connect(url, tenant) {
    const socket = new WebSocket(`${url.replace("http", "ws")}/?tenant=${tenant}&user=outside`);
    const outside = new Outside(socket);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
    return outside;
  }

  constructor(socket) {
    this.socket = socket;
    this.calls = new Map();
    this.serial = 0;
    socket.on("message", (data) => {
      const frame = parse(String(data));
      const call = this.calls.get(frame.correlationId);
      if (call === undefined) return;
      this.calls.delete(frame.correlationId);
      if (frame.op === "rpcResult" && frame.ok) call.resolve(frame);
      else call.reject(new Error(print(frame)));
    });
  }

  rpc(method, table, payload) {
    const correlationId = `outside-${(this.serial += 1)}`;
    const answer = new Promise((resolve, reject) =>
      this.calls.set(correlationId, { resolve, reject }),
    );
    this.socket.send(print({ op: "rpc", method, table, payload, correlationId }));
    return answer;
  }

  /** Columns as `name type`, with `key` or `null` after it. */
  createTable(name, ...columns) {
    const definitionOf = (text) => {
      const [column, dataType, more] = text.split(" ");
      const constraints = more === "key" ? ["primaryKey"] : [];
      return { name: column, dataType, isNullable: more === "null", constraints };
    };
    const definition = { name, columns: columns.map(definitionOf) };
    return this.rpc("CREATE_TABLE", undefined, { definition });
  }

  createStock() {
    return this.createTable(
      "stock",
      "id bigInt key",
      "name text",
      "qty integer null",
      "price numeric null",
      "note text null",
      "due date null",
      "big bigInt null",
    );
  }

  add(row) {
    return this.rpc("ADD_SINGLE", "stock", { row });
  }

  update(id, updates) {
    return this.rpc("UPDATE_SINGLE", "stock", { primaryId: String(id), updates });
  }

  remove(id) {
    return this.rpc("DELETE_ROW", "stock", { primaryId: String(id) });
  }

  async rows() {
    const queryJson = { order: [{ field: "id", sort: "ASC_DEFAULT" }], limit: 1000 };
    return (await this.rpc("GET_DATA", "stock", { queryJson })).data.rows;
  }

  close() {
    this.socket.close();
  }
}

/**
 * Runs in the page before its own code: lets a test see the frames and cut the line.
 */
function watchSockets() {
  const Real = window.WebSocket;
  window.watched = { sockets: [], sent: [], received: [], isCut: false };
  window.WebSocket = class extends Real {
    constructor(url, protocols) {
      super(url, protocols);
      const { watched } = window;
      this.offered = protocols;
      if (watched.isCut) this.close();
      watched.sockets.push(this);
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string") watched.received.push(JSON.parse(data));
      });
    }

    send(text) {
      window.watched.sent.push(JSON.parse(text));
      super.send(text);
    }
  };
}

/** The console on a screen, and what a test asks it. */
export class Screen {
  static async open(browser, url, { tenant, hash = "", ...options }) {
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
      ...options,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE_MS);
    await page.addInitScript(watchSockets);
    const screen = new Screen(context, page);
    page.on("pageerror", (error) => screen.trouble.push(String(error)));
    page.on(
      "console",
      (message) => message.type() === "error" && screen.trouble.push(message.text()),
    );
    await page.goto(`${url}/?tenant=${tenant}${hash}`);
    return screen;
  }

  constructor(context, page) {
    this.context = context;
    this.page = page;
    this.trouble = [];
  }

  /** The texts of one column, in the order on screen. */
  column(name) {
    return this.page.evaluate((wanted) => {
      const heads = [...document.querySelectorAll(".head-name")].map((head) => head.textContent);
      const index = heads.indexOf(wanted);
      return [...document.querySelectorAll(".row:not(.leaving)")]
        .sort(
          (a, b) =>
            Number(a.getAttribute("aria-rowindex")) - Number(b.getAttribute("aria-rowindex")),
        )
        .map((row) => row.querySelector(`[data-column="${index}"]`)?.textContent);
    }, name);
  }

  /** Waits until a question has the wanted answer; says the last one when it never does. */
  async until(ask, wanted) {
    const deadline = Date.now() + PATIENCE_MS;
    const wish = JSON.stringify(wanted);
    let answer;
    do {
      answer = await ask();
      if (JSON.stringify(answer) === wish) return;
      await this.page.evaluate(() => new Promise(requestAnimationFrame));
    } while (Date.now() < deadline);
    throw new Error(`wanted ${wish}, last was ${JSON.stringify(answer)}`);
  }

  showsColumn(name, wanted) {
    return this.until(() => this.column(name), wanted);
  }

  cell(pk, column) {
    const index = ["id", "name", "qty", "price", "note", "due", "big"].indexOf(column);
    return this.page.locator(`.row[data-pk="${pk}"] [data-column="${index}"]`);
  }

  press(...keys) {
    return keys.reduce(
      (before, key) => before.then(() => this.page.keyboard.press(key)),
      Promise.resolve(),
    );
  }

  text(selector) {
    return this.page.locator(selector).innerText();
  }

  watched(what) {
    return this.page.evaluate((name) => window.watched[name], what);
  }

  async close() {
    await this.context.close();
  }
}
