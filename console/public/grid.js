/**
 * The rows on screen.
 *
 * Every row is laid at `index × height` by a transform, so a row that moves is one style change that
 * the browser animates from wherever it happens to be; no layout is read, and no node is moved while
 * eyes or focus are on it. Frames only note what changed; `render` runs once per animation frame,
 * however many diffs came. Focus stays on the grid itself and the active cell is named by
 * `aria-activedescendant`: a cell that travels or leaves cannot take the focus with it.
 */

import { h, need } from "./dom.js";
import { ROW_HEIGHT, RowView } from "./row-view.js";
import { isNumeric } from "./values.js";
import { Widths } from "./widths.js";

/** How long a change stays marked. Long enough to find it after a glance elsewhere. */
const MARK_MS = 2400;
/** How long a row takes to fade out. */
const LEAVE_MS = 320;
/** Rows beside the visible ones that still move smoothly. */
const OVERSCAN = 6;
/** Between two sweeps of marks and places. */
const SWEEP_MS = 500;
/** After scrolling, the time until the rows now in sight may be animated. */
const LOOK_MS = 60;
/** Marks that wait for the next animation frame. A hidden tab gets none for hours. */
const MAX_NOTES = 2000;

/**
 * @typedef {import("./live.js").Page} Page
 * @typedef {import("./live.js").Mark} Mark
 * @typedef {import("./live.js").Row} Row
 * @typedef {import("./values.js").Column} Column
 * @typedef {import("./row-view.js").Note} Note
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
  /** @type {Map<string, RowView>} */
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
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #lookTimer;
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
    this.root.addEventListener("scroll", () => this.#looked(), { passive: true });
    new ResizeObserver(() => this.#looked()).observe(this.root);
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
    const headers = columns.map((column) => this.#header(column, primaryKey.includes(column.name)));
    const first = h("div", { role: "columnheader", class: "gutter", "aria-label": "Row" });
    const last = h("div", { class: "actions", role: "presentation" });
    this.head.replaceChildren(...(columns.length === 0 ? [] : [first, ...headers, last]));
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
        click: (/** @type {MouseEvent} */ event) =>
          this.handlers.onSort(column.name, event.shiftKey),
      },
      h("span", { class: isKey ? "head-name head-key" : "head-name" }, column.name),
      h("span", { class: "head-sort", "aria-hidden": "true" }),
      h(
        "span",
        { class: "head-type" },
        column.type,
        isKey ? h("span", { class: "sr-only" }, ", key") : null,
      ),
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
      view.leave(LEAVE_MS);
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
    if (how === "fresh" || note === undefined) return;
    // A row that left and came back between two renders was never gone for the eye.
    view.mark({ ...note, isNew: note.isNew && known === undefined }, performance.now() + MARK_MS);
    this.#sweepLater();
  }

  /**
   * @param {string} pk
   * @param {Row} row
   * @param {string | undefined} nextPk
   */
  #create(pk, row, nextPk) {
    this.#serial += 1;
    const view = new RowView(pk, row, this.columns, this.#serial);
    view.cells.forEach((cell, index) => this.#widths.see(index, cell.textContent ?? ""));
    const next = nextPk === undefined ? null : (this.#views.get(nextPk)?.element ?? null);
    this.body.insertBefore(view.element, next);
    this.#views.set(pk, view);
    return view;
  }

  /**
   * @param {RowView} view
   * @param {number} index
   */
  #lay(view, index) {
    const isNew = view.index === -1;
    const isFar = !this.#isNear(view.index) && !this.#isNear(index);
    if (!isNew && Math.abs(view.index - index) > 1) this.#isOrderStale = true;
    view.index = index;
    view.setFar(isFar);
    if (isNew || !isFar) {
      view.settle();
      return;
    }
    // One row that arrives at the top shifts all others. Those out of sight are settled by the next
    // sweep, or when they come into sight: it would be most of the work of a diff.
    view.isUnsettled = true;
    this.#sweepLater();
  }

  #sweepLater() {
    this.#sweepTimer ??= setTimeout(() => this.#sweep(), MARK_MS);
  }

  /** The view was scrolled or resized. */
  #looked() {
    this.#viewTop = this.root.scrollTop;
    this.#viewHeight = this.root.clientHeight;
    for (const view of this.#views.values()) {
      if (view.isUnsettled && this.#isNear(view.index)) view.settle();
    }
    // Only once they have been drawn in place may they move again, else they would fly in.
    clearTimeout(this.#lookTimer);
    this.#lookTimer = setTimeout(() => {
      for (const view of this.#views.values()) view.setFar(!this.#isNear(view.index));
    }, LOOK_MS);
  }

  /** @param {number} index */
  #isNear(index) {
    const top = this.#viewTop / ROW_HEIGHT - OVERSCAN;
    const bottom = (this.#viewTop + this.#viewHeight) / ROW_HEIGHT + OVERSCAN;
    return index >= top && index <= bottom;
  }

  /**
   * @param {RowView} view
   * @param {Row} row
   */
  #fill(view, row) {
    for (const index of view.fill(row))
      this.#widths.see(index, view.cells[index]?.textContent ?? "");
  }

  /** Takes off the marks whose time is up, then puts the elements into reading order. */
  #sweep() {
    this.#sweepTimer = undefined;
    const now = performance.now();
    let next = Infinity;
    for (const view of this.#views.values()) {
      if (view.isUnsettled) view.settle();
      if (view.markedUntil === 0) continue;
      if (view.markedUntil > now) {
        next = Math.min(next, view.markedUntil - now);
        continue;
      }
      view.unmark();
    }
    if (this.#isOrderStale) this.#reorder(next === Infinity);
    if (next !== Infinity)
      this.#sweepTimer = setTimeout(() => this.#sweep(), Math.max(next, SWEEP_MS));
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
    return view === undefined || column === undefined
      ? null
      : { pk: view.pk, row: view.row, column };
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
  while (next !== null && /\b(marked|leaving)\b/.test(next.className)) {
    next = next.nextElementSibling;
  }
  return next;
}
