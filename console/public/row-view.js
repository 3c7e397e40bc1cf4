/** One row's elements: its cells, its place, and what marks it. The grid decides, this writes. */

import { h } from "./dom.js";
import { changedColumns } from "./live.js";
import { isNumeric, kindOf, show } from "./values.js";

/** Pixels; the style sheet gets it as `--row-height`. */
export const ROW_HEIGHT = 34;

/**
 * @typedef {import("./live.js").Row} Row
 * @typedef {import("./values.js").Column} Column
 * @typedef {{ isNew: boolean, move: "up" | "down" | "still", columns: Set<string> }} Note what
 *   the diffs since the last render did to a row
 */

export class RowView {
  /** -1 until the row is laid for the first time. */
  index = -1;
  /** Out of sight, so not animated. */
  isFar = false;
  /** Its elements do not show its index yet. */
  isUnsettled = false;
  /** When its marks go; 0 when it has none. */
  markedUntil = 0;

  /**
   * @param {string} pk
   * @param {Row} row
   * @param {readonly Column[]} columns
   * @param {number} serial unique in the document, for ids
   */
  constructor(pk, row, columns, serial) {
    this.pk = pk;
    this.row = row;
    this.columns = columns;
    this.number = h("span", { class: "number" });
    this.sign = h("span", { class: "sign", "aria-hidden": "true" });
    this.cells = columns.map((column, index) => {
      const side = isNumeric(column) ? " numeric" : "";
      const id = `cell-${serial}-${index}`;
      return h("div", {
        role: "gridcell",
        id,
        class: `cell ${kindOf(column)}${side}`,
        "data-column": index,
      });
    });
    const button = {
      type: "button",
      class: "row-delete",
      tabindex: -1,
      "aria-label": "Delete this row",
    };
    this.element = h(
      "div",
      { role: "row", class: "row", "data-pk": pk },
      h("div", { role: "rowheader", class: "gutter" }, this.sign, this.number),
      ...this.cells,
      h("div", { class: "actions" }, h("button", { ...button, title: "Delete (Del)" }, "×")),
    );
    this.cells.forEach((_, index) => this.#write(index));
  }

  /**
   * @param {Row} row
   * @returns {number[]} the columns written
   */
  fill(row) {
    const changed = new Set(changedColumns(this.row, row));
    this.row = row;
    const written = [...this.columns.keys()].filter((index) =>
      changed.has(this.columns[index]?.name ?? ""),
    );
    written.forEach((index) => this.#write(index));
    return written;
  }

  /** @param {number} index */
  #write(index) {
    const column = this.columns[index];
    const cell = this.cells[index];
    if (column === undefined || cell === undefined) return;
    const value = this.row[column.name];
    const isNull = value === null || value === undefined;
    const text = show(column, value);
    cell.textContent = text;
    cell.title = isNull ? "" : typeof value === "string" ? value : text;
    cell.classList.toggle("null", isNull);
    if (kindOf(column) === "boolean") cell.dataset["value"] = isNull ? "null" : String(value);
  }

  /** Writes the row's place into its elements. */
  settle() {
    this.isUnsettled = false;
    this.element.style.transform = `translateY(${this.index * ROW_HEIGHT}px)`;
    this.element.setAttribute("aria-rowindex", String(this.index + 2));
    this.number.textContent = String(this.index + 1);
  }

  /** @param {boolean} isFar */
  setFar(isFar) {
    if (this.isFar === isFar) return;
    this.isFar = isFar;
    this.element.classList.toggle("far", isFar);
  }

  /**
   * @param {Note} note
   * @param {number} until
   */
  mark({ isNew, move, columns }, until) {
    this.#unmarkRow();
    this.markedUntil = until;
    this.element.classList.add("marked");
    if (isNew) {
      this.element.classList.add("added");
      this.sign.textContent = "+";
    } else if (move !== "still") {
      this.element.classList.add("moved", `moved-${move}`);
      this.sign.textContent = move === "up" ? "▲" : "▼";
    }
    this.columns.forEach(({ name }, index) => {
      const cell = this.cells[index];
      if (cell === undefined || !columns.has(name)) return;
      cell.classList.add("changed");
      // Two names for one animation: switching between them restarts it without a reflow.
      cell.dataset["beat"] = cell.dataset["beat"] === "a" ? "b" : "a";
    });
  }

  unmark() {
    this.markedUntil = 0;
    this.#unmarkRow();
    this.element.classList.remove("marked");
    for (const cell of this.cells) cell.classList.remove("changed");
  }

  #unmarkRow() {
    this.element.classList.remove("added", "moved", "moved-up", "moved-down");
    this.sign.textContent = "";
  }

  /** Fades it out; the element goes by itself. @param {number} ms */
  leave(ms) {
    this.element.classList.add("leaving");
    this.element.setAttribute("aria-hidden", "true");
    setTimeout(() => this.element.remove(), ms);
  }
}
