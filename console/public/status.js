/** What the edges of the page say: connection, table, position, and whatever went wrong. */

import { need } from "./dom.js";
import { plural } from "./frames.js";
import { describe } from "./query.js";
import { whyReadOnly } from "./tables.js";

/**
 * @typedef {import("./connection.js").ConnectionState} ConnectionState
 * @typedef {import("./live.js").Page} Page
 *
 * @typedef {object} View
 * @property {import("./tables.js").Table | undefined} table
 * @property {import("./query.js").Query} query
 * @property {Page} page
 * @property {boolean} isListed whether the server has said which tables there are
 * @property {number} tableCount
 */

export class Status {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #isOpen = false;

  constructor() {
    this.connection = need("connection", HTMLButtonElement);
    this.connectionText = need("connection-text", HTMLElement);
    this.announcement = need("announcement", HTMLElement);
    this.identity = need("identity", HTMLElement);
    this.rows = need("row-count", HTMLElement);
    this.position = need("position", HTMLElement);
    this.banner = need("banner", HTMLElement);
    this.bannerText = need("banner-text", HTMLElement);
    this.bannerCode = need("banner-code", HTMLElement);
    this.title = need("table-title", HTMLElement);
    this.titleNote = need("table-note", HTMLElement);
    this.blank = need("blank", HTMLElement);
    this.blankTitle = need("blank-title", HTMLElement);
    this.blankText = need("blank-text", HTMLElement);
  }

  /** @param {ConnectionState} state */
  showConnection(state) {
    clearInterval(this.#countdown);
    this.#isOpen = state.kind === "open";
    this.connection.dataset["state"] = state.kind;
    const words = wordsFor(state);
    this.connectionText.textContent = words;
    this.announcement.textContent = words;
    this.connection.title = "why" in state ? state.why : "Connection: who, and as whom";
    if (state.kind === "waiting") {
      this.#countdown = setInterval(() => (this.connectionText.textContent = wordsFor(state)), 500);
    }
  }

  /** @param {string} name */
  showIdentity(name) {
    this.identity.textContent = name;
  }

  /**
   * @param {Page} page
   * @param {number} limit
   */
  showPage({ rows, position, lsn }, limit) {
    const isFull = rows.length === limit;
    setText(this.rows, plural(rows.length, "row") + (isFull ? ", page full" : ""));
    setText(this.position, position || "none");
    this.position.title = lsn === null ? "" : `commit ${lsn}`;
  }

  /** @param {View} view */
  showView(view) {
    const { table, query, page } = view;
    const note = table === undefined ? "" : (table.refusal ?? whyReadOnly(table) ?? "");
    if (this.#isOpen) setText(this.connectionText, wordsForPage(view));
    setText(this.title, table?.name ?? (query.table || "Tidegate"));
    setText(this.titleNote, note);
    this.titleNote.hidden = note === "";
    this.#showFailure(page.failure);
    const blank = blankFor(view);
    this.blank.hidden = blank === null;
    setText(this.blankTitle, blank?.title ?? "");
    setText(this.blankText, blank?.text ?? "");
  }

  /** @param {{ code: string, message: string } | null} failure */
  #showFailure(failure) {
    this.banner.hidden = failure === null;
    setText(this.bannerText, failure?.message ?? "");
    setText(this.bannerCode, failure?.code ?? "");
  }
}

/**
 * Setting the same text again would still cost a mutation, sixty times a second.
 *
 * @param {HTMLElement} element
 * @param {string} text
 */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * What to say in place of rows, or null when there are rows, or soon will be.
 *
 * @param {View} view
 */
function blankFor({ table, query, page, isListed, tableCount }) {
  if (!isListed)
    return { title: "Waiting for the server", text: "The list of tables comes first." };
  if (table === undefined && tableCount === 0) {
    const text = "Start the server with --demo, or create a table: it appears here by itself.";
    return { title: "There is no table yet", text };
  }
  if (table === undefined) {
    return { title: `There is no table ${query.table}`, text: "Choose one from the list." };
  }
  if (page.phase !== "live" || page.rows.length > 0) return null;
  const terms = query.conditions.map(describe).join(query.match === "and" ? " and " : " or ");
  const why = terms === "" ? "The table is empty." : `Nothing matches ${terms}.`;
  return { title: "No rows", text: `${why} The first row that fits appears by itself.` };
}

/**
 * An open connection says less than whether the rows are current.
 *
 * @param {View} view
 */
function wordsForPage({ table, page }) {
  if (table === undefined || table.refusal !== null) return "Connected";
  switch (page.phase) {
    case "live":
      return "Live";
    case "opening":
    case "accepted":
      return "Loading";
    case "ended":
    case "broken":
      return "Connected";
  }
}

/** @param {ConnectionState} state */
function wordsFor(state) {
  switch (state.kind) {
    case "connecting":
      return "Connecting";
    case "open":
      return "Connected";
    case "waiting": {
      const seconds = Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000));
      return seconds > 1 ? `Back in ${seconds} s` : "Reconnecting";
    }
    case "refused":
      return "Refused";
  }
}
