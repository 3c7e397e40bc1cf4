/**
 * The frames as they come: the last two hundred, both ways, newest first.
 *
 * Frames are kept even while the pane is hidden or paused, but elements are made only for what is
 * seen, once per animation frame, so that watching costs little and not watching nothing.
 */

import { h, need } from "./dom.js";
import { print } from "./json.js";

const MAX_FRAMES = 200;
/** A frame's text beyond this is cut: the pane is for reading, and 200 large pages are not. */
const MAX_TEXT = 64 * 1024;
/** A diff of more changes than this is summed up by their number; their keys would not fit. */
const MAX_KEYS = 3;

/**
 * @typedef {object} Entry
 * @property {number} serial
 * @property {string} time
 * @property {"in" | "out"} direction
 * @property {string} op
 * @property {string} summary
 * @property {string} text
 * @property {number} size
 * @property {any} frame
 */

export class Frames {
  /** @type {Entry[]} oldest first */
  #entries = [];
  /** @type {Map<number, HTMLElement>} */
  #items = new Map();
  #serial = 0;
  #isPaused = false;
  #isScheduled = false;
  #choice = "quiet";

  constructor() {
    this.pane = need("frames", HTMLElement);
    this.list = need("frame-list", HTMLElement);
    this.pause = need("frame-pause", HTMLButtonElement);
    this.filter = need("frame-filter", HTMLSelectElement);
    this.count = need("frame-count", HTMLElement);
    this.pause.addEventListener("click", () => this.togglePause());
    need("frame-clear", HTMLButtonElement).addEventListener("click", () => this.#clear());
    this.filter.addEventListener("change", () => {
      this.#choice = this.filter.value;
      this.#rebuild();
    });
  }

  get isVisible() {
    return !this.pane.hidden;
  }

  /** @param {boolean} isVisible */
  setVisible(isVisible) {
    this.pane.hidden = !isVisible;
    if (isVisible) this.#rebuild();
  }

  togglePause() {
    this.#isPaused = !this.#isPaused;
    this.pause.setAttribute("aria-pressed", String(this.#isPaused));
    this.pause.textContent = this.#isPaused ? "Resume" : "Pause";
    if (!this.#isPaused) this.#rebuild();
  }

  /**
   * @param {"in" | "out"} direction
   * @param {string} text
   * @param {any} frame
   */
  add(direction, text, frame) {
    this.#serial += 1;
    const op = String(frame?.op ?? frame?.type ?? "unknown");
    this.#offer(op);
    this.#entries.push({
      serial: this.#serial,
      time: clock(new Date()),
      direction,
      op,
      summary: summaryOf(frame),
      size: text.length,
      text: text.slice(0, MAX_TEXT),
      frame: text.length <= MAX_TEXT ? frame : null,
    });
    if (this.#entries.length > MAX_FRAMES) this.#entries.shift();
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled || this.#isPaused || !this.isVisible) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      if (!this.#isPaused) this.#render();
    });
  }

  #render() {
    const oldest = this.#entries[0]?.serial ?? this.#serial + 1;
    for (const [serial, item] of this.#items) {
      if (serial >= oldest) break;
      item.remove();
      this.#items.delete(serial);
    }
    for (const entry of this.#entries) {
      if (this.#items.has(entry.serial) || !this.#isChosen(entry)) continue;
      const item = itemOf(entry);
      this.#items.set(entry.serial, item);
      this.list.prepend(item);
    }
    this.count.textContent = String(this.#items.size);
  }

  #rebuild() {
    this.#items.clear();
    this.list.replaceChildren();
    this.#render();
  }

  #clear() {
    this.#entries = [];
    this.#rebuild();
  }

  /** @param {Entry} entry */
  #isChosen({ op }) {
    if (this.#choice === "all") return true;
    return this.#choice === "quiet" ? op !== "ping" && op !== "pong" : op === this.#choice;
  }

  /** @param {string} op */
  #offer(op) {
    const isKnown = [...this.filter.options].some((option) => option.value === op);
    // A server that invents ops without end must not fill the menu.
    if (!isKnown && this.filter.options.length < 40)
      this.filter.append(h("option", { value: op }, op));
  }
}

/**
 * @param {Entry} entry
 * @returns {HTMLElement}
 */
function itemOf(entry) {
  const { direction, op, time, summary, size } = entry;
  const way = direction === "in" ? "received" : "sent";
  const button = h(
    "button",
    { type: "button", class: "frame-line", "aria-expanded": "false", click: () => toggle() },
    h("span", { class: "frame-way", "aria-label": way }, direction === "in" ? "←" : "→"),
    h("span", { class: "frame-op" }, op),
    h("span", { class: "frame-summary" }, summary),
    h("span", { class: "frame-size" }, bytes(size)),
    h("time", { class: "frame-time" }, time),
  );
  const item = h("li", { class: `frame frame-${direction}`, "data-op": op }, button);
  const toggle = () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) item.querySelector("pre")?.remove();
    else item.append(h("pre", { class: "frame-json", tabindex: 0 }, pretty(entry)));
  };
  return item;
}

/** @param {Entry} entry */
function pretty({ frame, text, size }) {
  if (frame !== null) return print(frame, "indented");
  return `${text}\n… cut at ${bytes(text.length)} of ${bytes(size)}`;
}

/**
 * @param {any} frame
 * @returns {string}
 */
function summaryOf(frame) {
  switch (frame?.op) {
    case "subscribe":
      return frame.resume === undefined
        ? String(frame.table)
        : `${frame.table} · resume ${frame.resume}`;
    case "snapshot":
      return `${plural(frame.rows?.length, "row")} · ${frame.reason}`;
    case "diff":
      return changesOf(frame.changes);
    case "resumed":
      return String(frame.cursor?.position);
    case "rpc":
      return [frame.method, frame.table].filter(Boolean).join(" ");
    case "rpcResult":
      return `${frame.method} · ${frame.ok === true ? "ok" : "refused"}`;
    case "error":
      return String(frame.code);
    case "sync":
    case "synced":
      return `lsn ${frame.lsn}`;
    default:
      return "";
  }
}

/**
 * Which rows a diff touches, by their keys: `+2013 −1999`, or `+7 ~3` when they are many.
 *
 * @param {any} changes
 */
function changesOf(changes) {
  if (!Array.isArray(changes)) return "?";
  const signs = { added: "+", removed: "−", modified: "~" };
  const isShort = changes.length <= MAX_KEYS;
  return Object.entries(signs)
    .flatMap(([kind, sign]) => {
      const keys = changes.filter((change) => change?.kind === kind).map(({ pk }) => String(pk));
      const shown = isShort ? keys : keys.length > 0 ? [keys.length] : [];
      return shown.map((what) => `${sign}${what}`);
    })
    .join(" ");
}

/**
 * @param {number | undefined} count
 * @param {string} noun
 */
export function plural(count, noun) {
  return `${count ?? "?"} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number} size */
function bytes(size) {
  return size < 1024 ? `${size} B` : `${(size / 1024).toFixed(1)} kB`;
}

/** @param {Date} date */
function clock(date) {
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const millis = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${millis}`;
}
