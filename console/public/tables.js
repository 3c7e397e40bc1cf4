/** The list of tables: what the server says there is, and the one that is shown. */

import { h, need } from "./dom.js";
import { plural } from "./frames.js";

/**
 * @typedef {object} Table
 * @property {string} name
 * @property {import("./values.js").Column[]} columns
 * @property {string[]} primaryKey
 * @property {string | null} refusal why the table cannot be subscribed to; null when it can
 */

/**
 * Reads the answer of LIST_TABLES; entries that make no sense are left out.
 *
 * @param {any} data
 * @returns {Table[]}
 */
export function tablesFrom(data) {
  if (!Array.isArray(data)) return [];
  return data
    .filter((it) => typeof it?.name === "string" && Array.isArray(it.columns))
    .map(tableFrom);
}

/**
 * @param {any} item
 * @returns {Table}
 */
function tableFrom(item) {
  const columns = item.columns.map((/** @type {any} */ column) => ({
    name: String(column?.name),
    type: String(column?.type),
    nullable: column?.nullable !== false,
  }));
  const primaryKey = Array.isArray(item.primaryKey) ? item.primaryKey.map(String) : [];
  return {
    name: item.name,
    columns,
    primaryKey,
    refusal: typeof item.refusal === "string" ? item.refusal : null,
  };
}

/**
 * Why rows of a table cannot be edited here, or null when they can.
 *
 * @param {Table} table
 */
export function whyReadOnly({ refusal, primaryKey }) {
  if (refusal !== null) return "This table is not live, so it is shown read-only.";
  return primaryKey.length > 0 ? null : "This table has no primary key to find a row by.";
}

export class TableList {
  #shown = "";

  /** @param {(name: string) => void} onChoose */
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.list = need("table-list", HTMLElement);
    this.select = need("table-select", HTMLSelectElement);
    this.select.addEventListener("change", () => onChoose(this.select.value));
  }

  /**
   * @param {readonly Table[]} tables
   * @param {string} chosen
   */
  show(tables, chosen) {
    // The same list keeps its elements, and with them the focus.
    const key = JSON.stringify(tables);
    if (key !== this.#shown) {
      this.#shown = key;
      this.list.replaceChildren(...tables.map((table) => this.#item(table)));
      this.select.replaceChildren(...tables.map(({ name }) => h("option", { value: name }, name)));
      this.select.disabled = tables.length === 0;
    }
    tables.forEach(({ name }, index) => {
      const button = this.list.children[index]?.firstElementChild;
      if (name === chosen) button?.setAttribute("aria-current", "true");
      else button?.removeAttribute("aria-current");
    });
    this.select.value = chosen;
  }

  /** @param {Table} table */
  #item(table) {
    const { name, columns, refusal } = table;
    const state = refusal === null ? "live" : "not live";
    const button = h(
      "button",
      {
        type: "button",
        class: "table-item",
        title: refusal ?? `${name}: ${state}`,
        click: () => this.onChoose(name),
      },
      h("span", {
        class: `dot ${refusal === null ? "dot-live" : "dot-still"}`,
        role: "img",
        "aria-label": state,
      }),
      h("span", { class: "table-name" }, name),
      h("span", { class: "table-size" }, plural(columns.length, "column")),
    );
    return h("li", {}, button);
  }
}
