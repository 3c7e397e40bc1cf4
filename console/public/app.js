/**
 * The console: wires the connection, the page of rows, and the parts on screen.
 *
 * It is a client like any other. Everything it knows comes over the public protocol; what a frame
 * does to the rows is decided by `live.js` alone, and drawn at most once per animation frame.
 */

import { Connection } from "./connection.js";
import { sentenceOf, showHelp } from "./dialogs.js";
import { need } from "./dom.js";
import { Editor } from "./editor.js";
import { Frames } from "./frames.js";
import { Grid } from "./grid.js";
import {
  addressOf,
  identityFromLocation,
  keepInLocation,
  nameOf,
  showIdentityForm,
} from "./identity.js";
import { installKeys } from "./keys.js";
import { lost, marks, open, reduce } from "./live.js";
import { Meter } from "./meter.js";
import { notify } from "./notices.js";
import { emptyQuery, fromHash, toHash, toWire } from "./query.js";
import { QueryBar } from "./querybar.js";
import { Status } from "./status.js";
import { TableList, tablesFrom } from "./tables.js";
import { Writes } from "./writes.js";

/** While there is no table at all, how often we ask whether one has appeared. */
const LOOK_AGAIN_MS = 2000;
/** After an error that may pass, wait up to this long before subscribing afresh; then twice it. */
const RETRY_MS = 2000;
const RETRY_MAX_MS = 30_000;

/**
 * @typedef {import("./tables.js").Table} Table
 * @typedef {import("./query.js").Query} Query
 */

class Console {
  #identity = identityFromLocation();
  /** @type {Query} */
  #query = fromHash(location.hash);
  /** @type {Table[]} */
  #tables = [];
  #isListed = false;
  #page = open("");
  /** The table the server sends frames of, "" while it sends none. */
  #subscribedTable = "";
  #serial = 0;
  /** @type {"nothing" | "diffs" | "fresh"} what the next animation frame has to draw */
  #due = "nothing";
  #isScheduled = false;
  /** @type {(() => void)[]} */
  #afterRender = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer;
  /** Retries since the page was last live. */
  #retries = 0;

  constructor() {
    this.meter = new Meter();
    this.frames = new Frames();
    this.status = new Status();
    this.bar = new QueryBar((query) => this.#setQuery(query));
    this.list = new TableList((name) => this.#chooseTable(name));
    this.grid = new Grid({
      onSort: (column, isAdded) => this.bar.cycleSort(column, isAdded),
      onEdit: () => this.#edit(),
      onDelete: () => this.writes.remove(this.#table, this.grid.active),
      onRender: () => this.editor.follow(),
    });
    this.editor = new Editor(this.grid, (target, value) =>
      this.writes.update(this.#table, target, value),
    );
    this.connection = new Connection(addressOf(this.#identity), {
      onFrame: (frame) => this.#frame(frame),
      onTraffic: (direction, text, frame) => this.frames.add(direction, text, frame),
      onState: (state) => this.#connectionChanged(state),
      onRoundTrip: (ms) => this.meter.showRoundTrip(ms),
    });
    this.writes = new Writes(this.connection, (answer, onSeen) => this.#wrote(answer, onSeen));
    this.#installControls();
  }

  start() {
    this.status.showIdentity(nameOf(this.#identity));
    this.bar.show(this.#query, []);
    this.connection.connect();
  }

  #installControls() {
    const toggleTheme = () => document.dispatchEvent(new Event("tidegate:toggle-theme"));
    const toggleFrames = () => this.#toggleFrames();
    const insert = () => this.writes.insert(this.#table, (pk) => this.grid.select(pk));
    const on = (/** @type {string} */ id, /** @type {() => void} */ act) =>
      need(id, HTMLButtonElement).addEventListener("click", act);
    on("insert", insert);
    on("theme", toggleTheme);
    on("help", showHelp);
    on("frames-toggle", toggleFrames);
    on("frames-close", toggleFrames);
    on("refresh", () => this.#listTables());
    on("retry", () => (this.connection.isOpen ? this.#retry() : this.#restart()));
    on("connection", () => this.#showIdentity());
    installKeys(this.grid.root, {
      addFilter: () => this.bar.addFilter(this.grid.active?.column.name),
      insert,
      edit: () => this.#edit(),
      remove: () => this.writes.remove(this.#table, this.grid.active),
      sort: () => this.#sortByActive(),
      toggleFrames,
      pauseFrames: () => this.frames.togglePause(),
      toggleTheme,
      help: showHelp,
      stepTable: (step) => this.#stepTable(step),
      move: (rows, columns) => this.#move(rows, columns),
      rowsPerView: () => this.grid.rowsPerView,
    });
    window.addEventListener("popstate", () =>
      this.#setQuery(fromHash(location.hash), "from address"),
    );
  }

  // The connection.

  /** @param {import("./connection.js").ConnectionState} state */
  #connectionChanged(state) {
    this.status.showConnection(state);
    if (state.kind === "open") {
      this.#listTables();
      if (this.#table !== undefined) this.#resume();
    } else {
      this.#page = lost(this.#page);
    }
    if (state.kind === "refused") {
      const failure = { code: "refused", message: state.why, retry: false };
      this.#page = { ...this.#page, phase: "ended", failure };
    }
    this.#showState();
  }

  /** Connects as if the page had just been opened. */
  #restart() {
    this.#tables = [];
    this.#isListed = false;
    this.#page = open("");
    this.#subscribedTable = "";
    this.grid.setTable([], []);
    this.status.showIdentity(nameOf(this.#identity));
    this.connection.moveTo(addressOf(this.#identity));
  }

  #showIdentity() {
    const connect = (/** @type {import("./identity.js").Identity} */ identity) => {
      this.#identity = identity;
      keepInLocation(identity);
      this.#restart();
    };
    showIdentityForm(this.#identity, connect, () => this.connection.interrupt());
  }

  async #listTables() {
    let answer;
    try {
      answer = await this.connection.rpc("LIST_TABLES");
    } catch (error) {
      // A lost connection is shown as such already, and lists again when it is back.
      if (this.connection.isOpen) notify(sentenceOf(error), "trouble");
      return;
    }
    const before = JSON.stringify(this.#table);
    this.#tables = tablesFrom(answer.data);
    this.#isListed = true;
    if (this.#tables.length === 0) setTimeout(() => this.#lookAgain(), LOOK_AGAIN_MS);
    // New here, gone, or with other columns: each makes another page of it.
    const table = this.#table;
    if (table === undefined || JSON.stringify(table) !== before) this.#openTable();
    this.list.show(this.#tables, this.#query.table);
    this.#showState();
  }

  #lookAgain() {
    if (this.#tables.length === 0 && this.connection.isOpen) this.#listTables();
  }

  // The query.

  get #table() {
    return this.#tables.find(({ name }) => name === this.#query.table);
  }

  /** Shows the table of the query, or the first live one when the query names none. */
  #openTable() {
    const first = this.#tables.find(({ refusal }) => refusal === null) ?? this.#tables[0];
    if (this.#query.table === "" && first !== undefined) {
      this.#query = emptyQuery(first.name);
      history.replaceState(null, "", toHash(this.#query));
    }
    const table = this.#table;
    this.grid.setTable(table?.columns ?? [], table?.primaryKey ?? []);
    this.bar.show(this.#query, table?.columns ?? []);
    this.grid.showOrder(this.#query.order);
    document.title = table === undefined ? "Tidegate" : `${table.name} · Tidegate`;
    if (table !== undefined) this.#subscribe();
  }

  /** @param {string} name */
  #chooseTable(name) {
    if (name !== this.#query.table) this.#setQuery(emptyQuery(name));
  }

  /** @param {number} step */
  #stepTable(step) {
    const at = this.#tables.findIndex(({ name }) => name === this.#query.table);
    const next = this.#tables[at + step];
    if (next !== undefined) this.#chooseTable(next.name);
  }

  /**
   * @param {Query} query
   * @param {"by hand" | "from address"} [how]
   */
  #setQuery(query, how = "by hand") {
    const isSameTable = query.table === this.#query.table;
    this.#query = query;
    this.editor.close();
    if (how === "by hand") history.pushState(null, "", toHash(query));
    this.list.show(this.#tables, query.table);
    if (!isSameTable) {
      this.#openTable();
      this.#showState();
      return;
    }
    this.bar.show(query, this.#table?.columns ?? []);
    this.grid.showOrder(query.order);
    this.#subscribe();
  }

  // The subscription.

  /** Starts a new subscription; the rows on screen stay until its snapshot is here. */
  #subscribe() {
    clearTimeout(this.#retryTimer);
    const { hashId, phase } = this.#page;
    if (this.#subscribedTable !== "" && phase !== "ended") {
      this.connection.send({ op: "unsubscribe", table: this.#subscribedTable, hashId });
    }
    this.#subscribedTable = "";
    this.#serial += 1;
    this.#page = open(`console-${this.#serial}`);
    this.#ask();
    this.#showState();
  }

  /** After a lost connection: the same subscription, from where it stood. */
  #resume() {
    const { hashId, phase, failure } = this.#page;
    if (hashId === "") return;
    if (phase !== "ended" && phase !== "broken") this.#ask();
    else if (failure?.retry === true) this.#retryLater();
  }

  #ask() {
    const table = this.#table;
    if (table === undefined || !this.connection.isOpen) return;
    let query;
    try {
      query = toWire(this.#query, table.columns);
    } catch (error) {
      this.#page = { ...this.#page, phase: "ended", failure: failureOf(error) };
      return;
    }
    if (table.refusal !== null) {
      this.#readOnce(table, query);
      return;
    }
    const { hashId, position } = this.#page;
    const resume = position === null ? undefined : position;
    this.#subscribedTable = table.name;
    this.connection.send({ op: "subscribe", table: table.name, hashId, query, resume });
  }

  /**
   * A table that cannot be live is read once, and shown as a page that does not move.
   *
   * @param {Table} table
   * @param {any} query
   */
  async #readOnce(table, query) {
    const { hashId } = this.#page;
    try {
      const { data } = await this.connection.rpc("GET_DATA", {
        table: table.name,
        payload: { queryJson: query },
      });
      const rows = Array.isArray(data?.rows) ? data.rows : [];
      const pks = rows.map((/** @type {any} */ _, /** @type {number} */ index) => String(index));
      this.#frame({
        op: "snapshot",
        hashId,
        rows,
        pks,
        cursor: { position: "" },
        reason: "subscribe",
      });
    } catch (error) {
      if (this.#page.hashId !== hashId) return;
      this.#page = { ...this.#page, phase: "ended", failure: failureOf(error) };
      this.#showState();
    }
  }

  /** @param {import("./live.js").Frame} frame */
  #frame(frame) {
    if (frame.op === "synced") {
      this.meter.synced(String(frame.lsn));
      return;
    }
    const before = this.#page;
    const frameForUs = frame.op === "unreadable" ? { op: "diff", hashId: before.hashId } : frame;
    this.#page = reduce(before, frameForUs);
    if (this.#page === before) {
      // An error that belongs to no subscription and no call still deserves to be read.
      const isOurs = frame.hashId === undefined || frame.hashId === before.hashId;
      if (frame.op === "error" && isOurs) notify(sentenceOf(failureError(frame)), "trouble");
      return;
    }
    if (frame.op === "diff" && this.#page.phase === "live") {
      this.meter.countDiff();
      this.grid.note(marks(before, frame));
      this.#schedule("diffs");
      return;
    }
    if (frame.op === "snapshot" && this.#page.phase === "live")
      this.#snapshotCame(this.#page.reason);
    if (this.#page.phase === "broken" || this.#page.phase === "ended") this.#retryLater();
    this.#showState();
  }

  /** @param {string | null} reason */
  #snapshotCame(reason) {
    this.#retries = 0;
    this.#schedule("fresh");
    const why = reason === null ? undefined : RESET_SENTENCES[reason];
    if (why !== undefined) notify(why);
  }

  #retryLater() {
    if (this.#page.failure?.retry !== true) return;
    clearTimeout(this.#retryTimer);
    const most = Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** this.#retries);
    this.#retries += 1;
    this.#retryTimer = setTimeout(() => this.#retry(), (0.2 + Math.random() * 0.8) * most);
  }

  /** Asks for the tables first: a subscription also ends when its table was redefined. */
  async #retry() {
    if (!this.connection.isOpen) return;
    const { hashId } = this.#page;
    await this.#listTables();
    if (this.#page.hashId === hashId) this.#subscribe();
  }

  // Drawing.

  /** @param {"diffs" | "fresh"} what */
  #schedule(what) {
    if (this.#due !== "fresh") this.#due = what;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#isScheduled = false;
    const due = this.#due;
    this.#due = "nothing";
    // A snapshot may have come and its subscription ended since; then there is nothing to draw.
    if (due !== "nothing" && this.#page.phase === "live") this.grid.render(this.#page, due);
    this.status.showPage(this.#page, this.#query.limit);
    this.#showState();
    for (const act of this.#afterRender.splice(0)) act();
  }

  #showState() {
    const table = this.#table;
    const { phase, rows } = this.#page;
    // Rows of a query that was refused would be rows of another query.
    if (phase === "ended" && rows.length === 0) this.grid.clear();
    this.grid.root.setAttribute("aria-busy", String(phase === "opening" || phase === "accepted"));
    this.grid.root.dataset["phase"] = phase;
    need("insert", HTMLButtonElement).disabled = table === undefined || table.refusal !== null;
    this.status.showView({
      table,
      query: this.#query,
      page: this.#page,
      isListed: this.#isListed,
      tableCount: this.#tables.length,
    });
  }

  #toggleFrames() {
    const isVisible = !this.frames.isVisible;
    this.frames.setVisible(isVisible);
    need("frames-toggle", HTMLButtonElement).setAttribute("aria-pressed", String(isVisible));
  }

  /**
   * @param {number} rows
   * @param {number} columns
   */
  #move(rows, columns) {
    this.grid.move(rows, columns);
    this.grid.root.focus({ preventScroll: true });
  }

  #edit() {
    const active = this.grid.active;
    if (active !== null && this.writes.canWrite(this.#table)) this.editor.open(active);
  }

  #sortByActive() {
    const active = this.grid.active;
    if (active !== null) this.bar.cycleSort(active.column.name, false);
  }

  /**
   * A write is committed; now find out when this page has passed it.
   *
   * @param {import("./connection.js").Answer} answer
   * @param {() => void} onSeen runs when the page on screen contains the write
   */
  #wrote({ lsn, tookMs }, onSeen) {
    this.meter.showCommit(tookMs);
    if (lsn === null || this.#page.phase !== "live") return;
    this.meter.wrote(lsn, () => {
      this.#afterRender.push(onSeen);
      this.#schedule("diffs");
    });
    this.connection.send({ op: "sync", hashId: this.#page.hashId, lsn });
  }
}

/**
 * Why a page came anew, for the person who was looking at the old one.
 *
 * @type {Record<string, string>}
 */
const RESET_SENTENCES = {
  unrecoverable: "A fresh page: the missed changes could not be had in full.",
  overflow: "A fresh page: this screen had fallen too far behind.",
  epoch: "A fresh page: the server started this page over.",
};

/** @param {import("./live.js").Frame} frame */
function failureError(frame) {
  return Object.assign(new Error(String(frame.message ?? "")), {
    code: String(frame.code ?? "unknown"),
  });
}

/**
 * @param {unknown} error
 * @returns {import("./live.js").Failure}
 */
function failureOf(error) {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? String(error.code) : "bad_query";
  return { code, message, retry: false };
}

new Console().start();
