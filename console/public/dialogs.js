/** The insert form, the question before a delete, and the overlay of keys. */

import { h, need } from "./dom.js";
import { fieldFor } from "./editor.js";
import { plural } from "./frames.js";
import { Problem, kindOf, read, show } from "./values.js";

/**
 * @typedef {import("./values.js").Column} Column
 * @typedef {{ [column: string]: any }} Values
 */

/**
 * Asks for a new row. A field nobody touched is left out, so that the column's default applies.
 *
 * @param {string} table
 * @param {readonly Column[]} columns
 * @param {readonly string[]} primaryKey
 * @param {(row: Values) => Promise<unknown>} onInsert rejects with the server's refusal
 */
export function askForRow(table, columns, primaryKey, onInsert) {
  const dialog = need("insert-dialog", HTMLDialogElement);
  const fields = columns.map((column) => new InsertField(column, primaryKey.includes(column.name)));
  const problem = h("p", { class: "form-problem", role: "alert" });
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    problem.textContent = "";
    try {
      await onInsert(rowOf(fields));
      dialog.close();
    } catch (error) {
      problem.textContent = sentenceOf(error);
    }
  };
  const close = () => dialog.close();
  const form = h(
    "form",
    { class: "dialog-form", submit },
    h("h2", {}, `New row in ${table}`),
    h("p", { class: "hint" }, "A field left untouched takes the column’s default, if it has one."),
    h("div", { class: "dialog-fields" }, ...fields.map((field) => field.element)),
    problem,
    h(
      "div",
      { class: "form-end" },
      h("button", { type: "button", click: close }, "Cancel"),
      h("button", { type: "submit", class: "primary" }, "Insert"),
    ),
  );
  dialog.replaceChildren(form);
  dialog.showModal();
  // A key is often made by the database, so the first other field is where typing starts.
  (fields.find((field) => !field.isKey) ?? fields[0])?.focus();
}

class InsertField {
  #isTouched = false;
  #isNull = false;

  /**
   * @param {Column} column
   * @param {boolean} isKey
   */
  constructor(column, isKey) {
    this.column = column;
    this.isKey = isKey;
    this.field = fieldFor(column, "");
    if (this.field instanceof HTMLSelectElement) {
      this.field.prepend(h("option", { value: "" }, "default"));
      this.field.value = "";
    } else if (!this.field.getAttribute("placeholder")) {
      this.field.setAttribute("placeholder", "default");
    }
    this.field.addEventListener("input", () => {
      this.#isTouched = true;
      this.#setNull(false);
    });
    const click = () => this.#setNull(!this.#isNull);
    const attributes = { type: "button", class: "null-button", "aria-pressed": "false", click };
    this.nullButton = h(
      "button",
      { ...attributes, "aria-label": `${column.name} is null` },
      "null",
    );
    this.nullButton.hidden = !column.nullable;
    const type = [isKey ? "key" : "", column.type, column.nullable || isKey ? "" : "not null"];
    const label = h(
      "span",
      { class: "field-label" },
      column.name,
      " ",
      h("small", {}, type.filter(Boolean).join(" · ")),
    );
    this.element = h(
      "div",
      { class: "field" },
      label,
      h("div", { class: "field-line" }, this.field, this.nullButton),
    );
  }

  focus() {
    this.field.focus();
  }

  /** @param {boolean} isNull */
  #setNull(isNull) {
    this.#isNull = isNull;
    this.nullButton.setAttribute("aria-pressed", String(isNull));
  }

  /** Writes the field's value into a row, or nothing if it was left alone. @param {Values} row */
  addTo(row) {
    const { name } = this.column;
    const text = this.field.value;
    const isLeft = !this.#isTouched || (text === "" && kindOf(this.column) !== "text");
    if (this.#isNull) row[name] = null;
    else if (!isLeft) row[name] = read(this.column, text);
  }
}

/** @param {InsertField[]} fields */
function rowOf(fields) {
  /** @type {Values} */
  const row = {};
  for (const field of fields) field.addTo(row);
  return row;
}

/**
 * Asks before a row is deleted, and shows which.
 *
 * @param {string} table
 * @param {string} pk
 * @param {Values} row
 * @param {readonly Column[]} columns
 * @param {() => void} onDelete
 */
export function askToDelete(table, pk, row, columns, onDelete) {
  const dialog = need("delete-dialog", HTMLDialogElement);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    dialog.close();
    onDelete();
  };
  const seen = columns.slice(0, 6);
  const facts = seen.flatMap((column) => [
    h("dt", {}, column.name),
    h("dd", {}, show(column, row[column.name])),
  ]);
  const rest = columns.length - seen.length;
  const remove = h("button", { type: "submit", class: "danger" }, "Delete");
  dialog.replaceChildren(
    h(
      "form",
      { class: "dialog-form", submit },
      h("h2", {}, "Delete this row?"),
      h("p", { class: "hint" }, `${table}, key ${pk}. Every screen that shows it will see it go.`),
      h("dl", { class: "facts" }, ...facts),
      rest > 0 ? h("p", { class: "hint" }, `and ${plural(rest, "more column")}`) : null,
      h(
        "div",
        { class: "form-end" },
        h("button", { type: "button", click: () => dialog.close() }, "Cancel"),
        remove,
      ),
    ),
  );
  dialog.showModal();
  remove.focus();
}

/** @type {[string[], string][]} */
const KEYS = [
  [["/"], "add a filter"],
  [["n"], "insert a row"],
  [["j", "k", "↓", "↑"], "next, previous row"],
  [["h", "l", "←", "→"], "previous, next cell"],
  [["e", "Enter"], "edit the cell"],
  [["Alt", "N"], "while editing: set null"],
  [["Delete"], "delete the row"],
  [["s"], "sort by the cell’s column"],
  [["[", "]"], "previous, next table"],
  [["f"], "show or hide the frames"],
  [["p"], "pause the frames"],
  [["t"], "light or dark"],
  [["?"], "this help"],
  [["Esc"], "close, cancel"],
];

export function showHelp() {
  const dialog = need("help-dialog", HTMLDialogElement);
  if (dialog.open) {
    dialog.close();
    return;
  }
  const close = h("button", { type: "button", click: () => dialog.close() }, "Close");
  dialog.replaceChildren(
    h("h2", {}, "Keys"),
    h(
      "dl",
      { class: "keys" },
      ...KEYS.flatMap(([keys, what]) => [
        h("dt", {}, ...keys.map((key) => h("kbd", {}, key))),
        h("dd", {}, what),
      ]),
    ),
    h("div", { class: "form-end" }, close),
  );
  dialog.showModal();
  close.focus();
}

/**
 * An error as a sentence with its code.
 *
 * @param {unknown} error
 */
export function sentenceOf(error) {
  if (error instanceof Problem) return error.message;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  return `${sentence.replace(/\.$/, "")}${code}.`;
}
