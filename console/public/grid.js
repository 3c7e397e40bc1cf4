/**
 * The rows on screen.
 *
 * Every row is laid at `index × height` by a transform, so a row that moves is one style change and
 * the browser animates it from wherever it happens to be; no layout is read, no node is moved while
 * eyes or focus are on it. Frames only note what changed; `render` runs once per animation frame,
 * however many diffs came. Focus stays on the grid itself and the active cell is named by
 * `aria-activedescendant`: a cell that travels or leaves cannot take the focus with it.
 */

import { h, need } from "./dom.js";
import { changedColumns } from "./live.js";
import { isNumeric, kindOf, show } from "./values.js";
import { Widths } from "./widths.js";

/** Pixels; the style sheet gets it as `--row-height`. */
const ROW_HEIGHT = 34;
/** How long a change stays marked. Long enough to find it after a glance elsewhere. */
const MARK_MS = 2400;
/** How long a row takes to fade out. */
const LEAVE_MS = 320;
/** Rows beside the visible ones that still move smoothly. */
const OVERSCAN = 6;
/** Marks that wait for the next animation frame. A hidden tab gets none for hours. */
const MAX_NOTES = 2000;

/**
 * @typedef {import("./live.js").Page} Page
 * @typedef {import("./live.js").Mark} Mark
 * @typedef {import("./live.js").Row} Row
 * @typedef {import("./values.js").Column} Column
 *
 * @typedef {object} View one row's elements
 * @property {string} pk
 * @property {HTMLElement} element
 * @property {HTMLElement} number
 * @property {HTMLElement} sign
 * @property {HTMLElement[]} cells
 * @property {number} index
 * @property {Row} row
 * @property {number} markedUntil 0 when not marked
 *
 * @typedef {{ isNew: boolean, move: "up" | "down" | "still", columns: Set<string> }} Note
 *
 * @typedef {object} GridHandlers
 * @property {(column: string, isAdded: boolean) => void} onSort
 * @property {() => void} onEdit
 * @property {() => void} onDelete
 * @property {() => void} onRender
 */

export class Grid {
  /** @type {readonly Column[]} */
  columns = [];
  /** @type {Map<string, View>} */
  #views = new Map();
  /** @type {Map<string, Note>} */
  #notes = new Map();
  /** @type {readonly string[]} */
  #pks = [];
  /** @type {string | null} */
  #activePk = null;
  #activeIndex = 0;
  #activeColumn = 0;
  #serial = 0;
  #isOrderStale = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #sweepTimer;
  #viewTop = 0;
  #viewHeight = 800;
  #widths = new Widths();

  /** @param {GridHandlers} handlers */
  constructor(handlers) {
    this.handlers = handlers;
    this.root = need("grid", HTMLElement);
    this.inner = need("grid-inner", HTMLElement);
    this.head = need("grid-head", HTMLElement);
    this.body = need("grid-body", HTMLElement);
    this.inner.style.setProperty("--row-height", `${ROW_HEIGHT}px`);
    this.root.addEventListener("scroll", () => (this.#viewTop = this.root.scrollTop), { passive: true });
    new ResizeObserver(() => (this.#viewHeight = this.root.clientHeight)).observe(this.root);
    this.body.addEventListener("click", (event) => this.#clicked(event));
    this.body.addEventListener("dblclick", () => this.handlers.onEdit());
  }

  /**
   * Starts over for a table.
   *
   * @param {readonly Column[]} columns
   * @param {readonly string[]} primaryKey
   */
  setTable(columns, primaryKey) {
    this.columns = columns;
    this.#activeColumn = 0;
    this.#activePk = null;
    this.#widths = new Widths(columns);
    this.clear();
    this.root.scrollTo(0, 0);
    this.root.setAttribute("aria-colcount", String(columns.length + 1));
    this.head.replaceChildren(
      h("div", { role: "columnheader", class: "gutter", "aria-label": "Row" }),
      ...columns.map((column) => this.#header(column, primaryKey.includes(column.name))),
      h("div", { class: "actions", role: "presentation" }),
    );
    this.#widths.applyTo(this.inner);
  }

  clear() {
    this.#views.clear();
    this.#notes.clear();
    this.#pks = [];
    this.body.replaceChildren();
    this.body.style.height = "0";
    this.#activate(null, 0);
  }

  /**
   * @param {Column} column
   * @param {boolean} isKey
   */
  #header(column, isKey) {
    const button = h(
      "button",
      {
        type: "button",
        title: `Sort by ${column.name}; with Shift, as a further key`,
        click: (/** @type {MouseEvent} */ event) => this.handlers.onSort(column.name, event.shiftKey),
      },
      h("span", { class: isKey ? "head-name head-key" : "head-name" }, column.name),
      h("span", { class: "head-sort", "aria-hidden": "true" }),
      h("span", { class: "head-type" }, column.type, isKey ? h("span", { class: "sr-only" }, ", key") : null),
    );
    const side = isNumeric(column) ? " numeric" : "";
    return h("div", { role: "columnheader", class: `head${side}`, "aria-sort": "none" }, button);
  }

  /** @param {readonly import("./query.js").SortKey[]} order */
  showOrder(order) {
    this.columns.forEach((column, index) => {
      const place = order.findIndex((key) => key.column === column.name);
      const direction = order[place]?.direction;
      const header = this.head.children[index + 1];
      const sign = header?.querySelector(".head-sort");
      if (!header || !sign) return;
      const word = direction === "asc" ? "ascending" : "descending";
      header.setAttribute("aria-sort", direction === undefined ? "none" : word);
      const arrow = direction === "asc" ? "↑" : "↓";
      sign.textContent = direction === undefined ? "" : arrow + (order.length > 1 ? place + 1 : "");
    });
  }

  /**
   * Keeps what a diff changed until the next render.
   *
   * @param {Mark[]} marks
   */
  note(marks) {
    for (const { kind, pk, move, columns } of marks) {
      if (kind === "removed") {
        this.#notes.delete(pk);
        continue;
      }
      const note = this.#notes.get(pk) ?? { isNew: false, move: "still", columns: new Set() };
      note.isNew ||= kind === "added";
      if (move !== "still") note.move = move;
      for (const column of columns) note.columns.add(column);
      this.#notes.set(pk, note);
    }
    if (this.#notes.size > MAX_NOTES) this.#notes.clear();
  }

  /**
   * Brings the elements to the page.
   *
   * @param {Page} page
   * @param {"diffs" | "fresh"} how a fresh page replaces everything without fading or marks
   */
  render(page, how) {
    if (how === "fresh") this.#notes.clear();
    this.#dismiss(page, how);
    this.#pks = page.pks;
    const isFirst = this.#views.size === 0;
    // From the last row up, so that a new row finds the one it stands before.
    for (let index = page.pks.length - 1; index >= 0; index -= 1) {
      this.#place(page, index, how);
    }
    this.body.style.height = `${page.pks.length * ROW_HEIGHT}px`;
    this.root.setAttribute("aria-rowcount", String(page.pks.length + 1));
    if (isFirst || this.#widths.isStale) this.#widths.applyTo(this.inner);
    this.#notes.clear();
    this.#keepActive();
    this.handlers.onRender();
  }

  /**
   * @param {Page} page
   * @param {"diffs" | "fresh"} how
   */
  #dismiss(page, how) {
    const staying = new Set(page.pks);
    for (const [pk, view] of this.#views) {
      if (staying.has(pk)) continue;
      this.#views.delete(pk);
      if (how === "fresh") {
        view.element.remove();
        continue;
      }
      view.element.classList.add("leaving");
      view.element.setAttribute("aria-hidden", "true");
      setTimeout(() => view.element.remove(), LEAVE_MS);
    }
  }

  /**
   * @param {Page} page
   * @param {number} index
   * @param {"diffs" | "fresh"} how
   */
  #place(page, index, how) {
    const pk = /** @type {string} */ (page.pks[index]);
    const row = /** @type {Row} */ (page.rows[index]);
    const known = this.#views.get(pk);
    const view = known ?? this.#create(pk, row, page.pks[index + 1]);
    if (view.index !== index) this.#lay(view, index);
    if (view.row !== row) this.#fill(view, row);
    const note = this.#notes.get(pk);
    if (how === "diffs" && note !== undefined) this.#mark(view, note, known === undefined);
  }

  /**
   * @param {string} pk
   * @param {Row} row
   * @param {string | undefined} nextPk
   * @returns {View}
   */
  #create(pk, row, nextPk) {
    this.#serial += 1;
    const serial = this.#serial;
    const number = h("span", { class: "number" });
    const sign = h("span", { class: "sign", "aria-hidden": "true" });
    const gutter = h("div", { role: "rowheader", class: "gutter" }, sign, number);
    const cells = this.columns.map((column, index) => {
      const side = isNumeric(column) ? " numeric" : "";
      const id = `cell-${serial}-${index}`;
      return h("div", { role: "gridcell", id, class: `cell ${kindOf(column)}${side}`, "data-column": index });
    });
    const button = { type: "button", class: "row-delete", tabindex: -1, "aria-label": "Delete this row" };
    const actions = h("div", { class: "actions" }, h("button", { ...button, title: "Delete (Del)" }, "×"));
    const element = h("div", { role: "row", class: "row", "data-pk": pk }, gutter, ...cells, actions);
    const view = { pk, element, number, sign, cells, index: -1, row, markedUntil: 0 };
    this.columns.forEach((_, column) => this.#write(view, column, row));
    const next = nextPk === undefined ? null : (this.#views.get(nextPk)?.element ?? null);
    this.body.insertBefore(element, next);
    this.#views.set(pk, view);
    return view;
  }

  /**
   * @param {View} view
   * @param {number} index
   */
  #lay(view, index) {
    const { element } = view;
    const isFirst = view.index === -1;
    const isSeen = this.#isNear(view.index) || this.#isNear(index);
    if (!isFirst && Math.abs(view.index - index) > 1) this.#isOrderStale = true;
    element.classList.toggle("still", isFirst || !isSeen);
    element.style.transform = `translateY(${index * ROW_HEIGHT}px)`;
    element.setAttribute("aria-rowindex", String(index + 2));
    view.number.textContent = String(index + 1);
    view.index = index;
  }

  /** @param {number} index */
  #isNear(index) {
    const top = this.#viewTop / ROW_HEIGHT - OVERSCAN;
    const bottom = (this.#viewTop + this.#viewHeight) / ROW_HEIGHT + OVERSCAN;
    return index >= top && index <= bottom;
  }

  /**
   * @param {View} view
   * @param {Row} row
   */
  #fill(view, row) {
    const changed = new Set(changedColumns(view.row, row));
    view.row = row;
    this.columns.forEach((column, index) => {
      if (changed.has(column.name)) this.#write(view, index, row);
    });
  }

  /**
   * @param {View} view
   * @param {number} index
   * @param {Row} row
   */
  #write(view, index, row) {
    const column = /** @type {Column} */ (this.columns[index]);
    const cell = /** @type {HTMLElement} */ (view.cells[index]);
    const value = row[column.name];
    const isNull = value === null || value === undefined;
    const text = show(column, value);
    cell.textContent = text;
    cell.title = isNull ? "" : typeof value === "string" ? value : text;
    cell.classList.toggle("null", isNull);
    if (kindOf(column) === "boolean") cell.dataset["value"] = isNull ? "null" : String(value);
    this.#widths.see(index, text);
  }

  /**
   * @param {View} view
   * @param {Note} note
   * @param {boolean} isNew
   */
  #mark(view, note, isNew) {
    const { element, sign } = view;
    this.#unmarkRow(view);
    view.markedUntil = performance.now() + MARK_MS;
    if (isNew || note.isNew) {
      element.classList.add("added");
      sign.textContent = "+";
    } else if (note.move !== "still") {
      element.classList.add("moved", `moved-${note.move}`);
      sign.textContent = note.move === "up" ? "▲" : "▼";
    }
    this.columns.forEach(({ name }, index) => {
      const cell = view.cells[index];
      if (cell === undefined || !note.columns.has(name)) return;
      cell.classList.add("changed");
      // Two names for one animation: switching between them restarts it without a reflow.
      cell.dataset["beat"] = cell.dataset["beat"] === "a" ? "b" : "a";
    });
    this.#sweepTimer ??= setTimeout(() => this.#sweep(), MARK_MS);
  }

  /** @param {View} view */
  #unmarkRow({ element, sign }) {
    element.classList.remove("added", "moved", "moved-up", "moved-down");
    sign.textContent = "";
  }

  /** Takes off the marks whose time is up, then puts the elements into reading order. */
  #sweep() {
    this.#sweepTimer = undefined;
    const now = performance.now();
    let next = Infinity;
    for (const view of this.#views.values()) {
      if (view.markedUntil === 0) continue;
      if (view.markedUntil > now) {
        next = Math.min(next, view.markedUntil - now);
        continue;
      }
      view.markedUntil = 0;
      this.#unmarkRow(view);
      for (const cell of view.cells) cell.classList.remove("changed");
    }
    if (this.#isOrderStale) this.#reorder(next === Infinity);
    if (next !== Infinity) this.#sweepTimer = setTimeout(() => this.#sweep(), Math.max(next, 200));
  }

  /**
   * Puts elements into the order of the page, for screen readers; eyes see no difference. A marked
   * row waits, since taking it out of the document would restart its animation.
   *
   * @param {boolean} isQuiet whether no row is marked, so that this settles the order for good
   */
  #reorder(isQuiet) {
    /** @type {Element | null} */
    let next = null;
    for (const pk of this.#pks.toReversed()) {
      const view = this.#views.get(pk);
      if (view === undefined || view.markedUntil !== 0) continue;
      if (followingUnmarked(view.element) !== next) this.body.insertBefore(view.element, next);
      next = view.element;
    }
    if (isQuiet) this.#isOrderStale = false;
  }

  /** @param {MouseEvent} event */
  #clicked(event) {
    const target = /** @type {Element} */ (event.target);
    const pk = target.closest(".row")?.getAttribute("data-pk");
    if (pk === null || pk === undefined || !this.#views.has(pk)) return;
    const column = target.closest("[data-column]")?.getAttribute("data-column");
    if (column !== null && column !== undefined) this.#activeColumn = Number(column);
    this.#activate(pk, this.#activeColumn);
    this.root.focus({ preventScroll: true });
    if (target.closest(".row-delete")) this.handlers.onDelete();
  }

  /** @returns {{ pk: string, row: Row, column: Column } | null} */
  get active() {
    const view = this.#activePk === null ? undefined : this.#views.get(this.#activePk);
    const column = this.columns[this.#activeColumn];
    return view === undefined || column === undefined ? null : { pk: view.pk, row: view.row, column };
  }

  /**
   * Moves the active cell, and scrolls it into sight.
   *
   * @param {number} rows
   * @param {number} columns
   */
  move(rows, columns) {
    if (this.#pks.length === 0) return;
    const from = this.#activePk === null ? (rows > 0 ? -1 : 0) : this.#activeIndex;
    const index = Math.min(Math.max(from + rows, 0), this.#pks.length - 1);
    const last = this.columns.length - 1;
    this.#activeColumn = Math.min(Math.max(this.#activeColumn + columns, 0), last);
    this.#activate(this.#pks[index] ?? null, this.#activeColumn);
    this.#reveal();
  }

  /** @param {string} pk */
  select(pk) {
    if (!this.#views.has(pk)) return false;
    this.#activate(pk, this.#activeColumn);
    this.#reveal();
    return true;
  }

  get rowsPerView() {
    return Math.max(1, Math.floor(this.#viewHeight / ROW_HEIGHT) - 2);
  }

  /**
   * @param {string | null} pk
   * @param {number} column
   */
  #activate(pk, column) {
    for (const element of this.body.querySelectorAll(".active, .active-cell")) {
      element.classList.remove("active", "active-cell");
      element.removeAttribute("aria-selected");
    }
    this.#activePk = pk;
    const view = pk === null ? undefined : this.#views.get(pk);
    const cell = view?.cells[column];
    if (view === undefined || cell === undefined) {
      this.root.removeAttribute("aria-activedescendant");
      return;
    }
    this.#activeIndex = view.index;
    view.element.classList.add("active");
    view.element.setAttribute("aria-selected", "true");
    cell.classList.add("active-cell");
    this.root.setAttribute("aria-activedescendant", cell.id);
  }

  /** The active row may have moved or left; then the one at its place becomes active. */
  #keepActive() {
    if (this.#activePk === null) return;
    const view = this.#views.get(this.#activePk);
    if (view !== undefined) {
      this.#activeIndex = view.index;
      return;
    }
    const index = Math.min(this.#activeIndex, this.#pks.length - 1);
    this.#activate(this.#pks[index] ?? null, this.#activeColumn);
  }

  #reveal() {
    const top = this.#activeIndex * ROW_HEIGHT;
    const headHeight = this.head.offsetHeight;
    const space = this.root.clientHeight - headHeight - ROW_HEIGHT;
    const { scrollTop } = this.root;
    if (top < scrollTop) this.root.scrollTop = top;
    else if (top > scrollTop + space) this.root.scrollTop = top - space;
    const cell = this.active && this.#views.get(this.active.pk)?.cells[this.#activeColumn];
    cell?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /**
   * Where a cell is, within the grid's inner box; null when its row is not on the page.
   *
   * @param {string} pk
   * @param {string} column
   */
  boxOf(pk, column) {
    const view = this.#views.get(pk);
    const cell = view?.cells[this.columns.findIndex(({ name }) => name === column)];
    if (view === undefined || cell === undefined) return null;
    const top = this.head.offsetHeight + view.index * ROW_HEIGHT;
    return { left: cell.offsetLeft, top, width: cell.offsetWidth, height: ROW_HEIGHT };
  }
}

/** @param {Element} element */
function followingUnmarked(element) {
  let next = element.nextElementSibling;
  while (next !== null && /\b(added|moved|leaving)\b/.test(next.className)) {
    next = next.nextElementSibling;
  }
  return next;
}
