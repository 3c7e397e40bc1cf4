/**
 * Editing one cell in place.
 *
 * The field lies over the grid, not in the cell: a row that moves while someone types carries the
 * field along, and a row that leaves the page does not take the half-typed value with it.
 */

import { h } from "./dom.js";
import { Problem, editable, kindOf, read } from "./values.js";

/**
 * @typedef {import("./values.js").Column} Column
 * @typedef {{ pk: string, row: import("./live.js").Row, column: Column }} Target
 */

export class Editor {
  /** @type {{ target: Target, box: HTMLElement, note: HTMLElement, isTouched: boolean } | null} */
  #open = null;

  /**
   * @param {import("./grid.js").Grid} grid
   * @param {(target: Target, value: any) => void} onSave
   */
  constructor(grid, onSave) {
    this.grid = grid;
    this.onSave = onSave;
  }

  get isOpen() {
    return this.#open !== null;
  }

  /** @param {Target} target */
  open(target) {
    this.close();
    const { column, row } = target;
    const field = fieldFor(column, editable(column, row[column.name]));
    const note = h("p", { class: "editor-note", role: "status" });
    const save = () => this.#save(field);
    const clear = column.nullable ? this.#nullButton(target) : null;
    const line = h("div", { class: "editor-line" }, field, clear);
    const box = h("div", { class: "editor" }, line, note);
    box.addEventListener("keydown", (event) => this.#key(event, field, save));
    box.addEventListener("focusout", (event) => {
      const to = event.relatedTarget;
      // Looking away keeps nothing: a value is written by Enter or Tab, never by accident.
      if (to instanceof Node && !box.contains(to)) this.close();
    });
    const open = { target, box, note, isTouched: false };
    box.addEventListener("input", () => (open.isTouched = true));
    this.#open = open;
    this.grid.inner.append(box);
    this.follow();
    field.focus();
    if (!(field instanceof HTMLSelectElement)) field.select();
  }

  /** @param {Target} target */
  #nullButton(target) {
    const click = () => {
      this.#leave();
      this.onSave(target, null);
    };
    const help = "Set to null (Alt+N)";
    return h("button", { type: "button", class: "null-button", title: help, click }, "null");
  }

  /**
   * @param {KeyboardEvent} event
   * @param {HTMLElement} field
   * @param {() => boolean} save
   */
  #key(event, field, save) {
    event.stopPropagation();
    const isMultiline = field instanceof HTMLTextAreaElement && !(event.ctrlKey || event.metaKey);
    if (event.key === "Escape") {
      this.#leave();
    } else if (event.altKey && event.code === "KeyN") {
      event.preventDefault();
      this.#open?.box.querySelector("button")?.click();
    } else if (event.target === field && event.key === "Enter" && !isMultiline) {
      event.preventDefault();
      save();
    } else if (event.target === field && event.key === "Tab") {
      event.preventDefault();
      if (save()) this.grid.move(0, event.shiftKey ? -1 : 1);
    }
  }

  /**
   * @param {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} field
   * @returns {boolean} whether the field is done with
   */
  #save(field) {
    if (this.#open === null) return true;
    const { target, note, isTouched } = this.#open;
    // A choice that already shows the wanted word is made by Enter alone.
    if (!isTouched && !(field instanceof HTMLSelectElement)) {
      this.#leave();
      return true;
    }
    let value;
    try {
      value = read(target.column, field.value);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      note.textContent = error.message;
      field.setAttribute("aria-invalid", "true");
      return false;
    }
    this.#leave();
    this.onSave(target, value);
    return true;
  }

  #leave() {
    this.close();
    this.grid.root.focus();
  }

  /** Lays the field over its cell again; called after each render. */
  follow() {
    if (this.#open === null) return;
    const { target, box, note } = this.#open;
    const place = this.grid.boxOf(target.pk, target.column.name);
    if (place === null) {
      note.textContent = "This row has left the page. Enter still saves.";
      return;
    }
    box.style.transform = `translate(${place.left}px, ${place.top}px)`;
    box.style.width = `${Math.max(place.width, 150)}px`;
  }

  close() {
    const open = this.#open;
    this.#open = null;
    open?.box.remove();
  }
}

/**
 * The field a column's values are typed into.
 *
 * @param {Column} column
 * @param {string} value
 * @returns {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement}
 */
export function fieldFor(column, value) {
  const named = { "aria-label": column.name, autocomplete: "off", spellcheck: "false" };
  switch (kindOf(column)) {
    case "boolean": {
      const options = ["true", "false"].map((word) => h("option", { value: word }, word));
      const field = h("select", named, ...options);
      field.value = value === "" ? "true" : value;
      return field;
    }
    case "json":
      return area(named, value);
    case "integer":
      return input({ ...named, inputmode: "numeric" }, value);
    case "decimal":
    case "float":
      return input({ ...named, inputmode: "decimal" }, value);
    case "moment": {
      const isDate = column.type === "date";
      return input(
        { ...named, placeholder: isDate ? "2026-01-31" : "2026-01-31T12:00:00Z" },
        value,
      );
    }
    case "text":
    case "other":
      // A one-line field would silently drop line breaks.
      return /[\r\n]/.test(value) ? area(named, value) : input(named, value);
  }
}

/**
 * @param {import("./dom.js").Attributes} attributes
 * @param {string} value
 */
function input(attributes, value) {
  const field = h("input", { type: "text", ...attributes });
  field.value = value;
  return field;
}

/**
 * @param {import("./dom.js").Attributes} attributes
 * @param {string} value
 */
function area(attributes, value) {
  const field = h("textarea", { ...attributes, rows: 5 });
  field.value = value;
  return field;
}
