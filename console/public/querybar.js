/**
 * The query as chips: conditions, order and limit, each edited in a small popover.
 *
 * It holds no query of its own. It shows the one it is given and hands a changed copy back; whether
 * that copy is sent, and what the server says to it, is decided elsewhere.
 */

import { h, need, showUnder } from "./dom.js";
import {
  DEFAULT_LIMIT,
  MAX_LIMIT,
  OPERATORS,
  arityOf,
  clampLimit,
  describe,
  operatorsFor,
  toWire,
} from "./query.js";
import { Problem, kindOf } from "./values.js";

/**
 * @typedef {import("./query.js").Query} Query
 * @typedef {import("./query.js").Condition} Condition
 * @typedef {import("./query.js").SortKey} SortKey
 * @typedef {import("./values.js").Column} Column
 */

export class QueryBar {
  /** @type {Query | null} */
  #query = null;
  /** @type {readonly Column[]} */
  #columns = [];

  /** @param {(query: Query) => void} onChange */
  constructor(onChange) {
    this.onChange = onChange;
    this.filters = need("filters", HTMLElement);
    this.orders = need("orders", HTMLElement);
    this.match = need("match", HTMLButtonElement);
    this.limit = need("limit", HTMLInputElement);
    this.popover = need("query-popover", HTMLElement);
    this.addFilterButton = need("add-filter", HTMLButtonElement);
    this.addSortButton = need("add-sort", HTMLButtonElement);
    this.limit.max = String(MAX_LIMIT);
    this.addFilterButton.addEventListener("click", () => this.addFilter());
    this.addSortButton.addEventListener("click", () => this.#editSort(null));
    this.match.addEventListener("click", () => this.#toggleMatch());
    this.limit.addEventListener("change", () => this.#limitChanged());
  }

  /**
   * @param {Query} query
   * @param {readonly Column[]} columns
   */
  show(query, columns) {
    this.#query = query;
    this.#columns = columns;
    this.match.hidden = query.conditions.length < 2;
    this.match.textContent = query.match === "and" ? "all of" : "any of";
    this.filters.replaceChildren(
      ...query.conditions.map((condition, index) =>
        this.#chip(
          describe(condition),
          "filter",
          (chip) => this.#editFilter(index, chip),
          () =>
            this.#removed(
              { conditions: query.conditions.toSpliced(index, 1) },
              this.addFilterButton,
            ),
        ),
      ),
    );
    this.orders.replaceChildren(
      ...query.order.map((key, index) =>
        this.#chip(
          describeKey(key),
          "sort key",
          () => this.#editSort(index),
          () => this.#removed({ order: query.order.toSpliced(index, 1) }, this.addSortButton),
        ),
      ),
    );
    if (document.activeElement !== this.limit) this.limit.value = String(query.limit);
    const isOff = columns.length === 0;
    for (const control of [this.addFilterButton, this.addSortButton, this.limit])
      control.disabled = isOff;
  }

  /**
   * Asks for a new condition.
   *
   * @param {string} [column] the one it most likely is about
   */
  addFilter(column) {
    if (this.#columns.length > 0) this.#editFilter(null, this.addFilterButton, column);
  }

  /**
   * A click on a heading: ascending, descending, none; further keys are kept when adding.
   *
   * @param {string} column
   * @param {boolean} isAdded
   */
  cycleSort(column, isAdded) {
    /** @type {SortKey[]} */
    const order = this.#query?.order ?? [];
    const place = order.findIndex((key) => key.column === column);
    const next = nextKey(column, order[place]);
    const others = isAdded ? order.filter((key) => key.column !== column) : [];
    if (isAdded && place >= 0 && next !== null) {
      this.#change({ order: order.with(place, next) });
    } else {
      this.#change({ order: next === null ? others : [...others, next] });
    }
  }

  /** @param {Partial<Query>} change */
  #change(change) {
    if (this.#query !== null) this.onChange({ ...this.#query, ...change });
  }

  /**
   * The chip that had the focus is gone, so the focus goes to what stands beside it.
   *
   * @param {Partial<Query>} change
   * @param {HTMLElement} neighbour
   */
  #removed(change, neighbour) {
    this.#change(change);
    neighbour.focus();
  }

  #toggleMatch() {
    this.#change({ match: this.#query?.match === "and" ? "or" : "and" });
  }

  #limitChanged() {
    const limit = this.limit.value === "" ? DEFAULT_LIMIT : clampLimit(this.limit.value);
    this.limit.value = String(limit);
    this.#change({ limit });
  }

  /**
   * @param {string} text
   * @param {string} what
   * @param {(chip: HTMLElement) => void} onEdit
   * @param {() => void} onRemove
   */
  #chip(text, what, onEdit, onRemove) {
    const edit = {
      type: "button",
      class: "chip-text",
      title: text,
      "aria-label": `Edit ${what}: ${text}`,
    };
    const chip = h("span", { class: "chip", role: "listitem" });
    const remove = {
      type: "button",
      class: "chip-remove",
      "aria-label": `Remove ${what}: ${text}`,
    };
    chip.append(
      h("button", { ...edit, click: () => onEdit(chip) }, text),
      h("button", { ...remove, click: onRemove }, "×"),
    );
    return chip;
  }

  /**
   * @param {number | null} index null for a new condition
   * @param {HTMLElement} anchor
   * @param {string} [column]
   */
  #editFilter(index, anchor, column) {
    const query = this.#query;
    const first = this.#columns[0];
    if (query === null || first === undefined) return;
    const start = (index === null ? undefined : query.conditions[index]) ?? {
      column: column ?? first.name,
      operator: "equals",
      values: [],
    };
    const form = new FilterForm(this.#columns, start, (condition) => {
      const others = query.conditions;
      const conditions = index === null ? [...others, condition] : others.with(index, condition);
      this.popover.hidePopover();
      this.#change({ conditions });
    });
    this.#open(form.element, anchor);
    form.column.focus();
  }

  /** @param {number | null} index null for a new key */
  #editSort(index) {
    const query = this.#query;
    const unused = this.#columns.find((it) => !query?.order.some((key) => key.column === it.name));
    const column = unused?.name ?? this.#columns[0]?.name;
    if (query === null || column === undefined) return;
    /** @type {SortKey} */
    const fresh = { column, direction: "asc", nulls: "default" };
    const start = (index === null ? undefined : query.order[index]) ?? fresh;
    const form = sortForm(this.#columns, start, (key) => {
      const others = query.order.filter((it, at) => at === index || it.column !== key.column);
      const place = others.indexOf(start);
      this.popover.hidePopover();
      this.#change({ order: place < 0 ? [...others, key] : others.with(place, key) });
    });
    const chip = index === null ? undefined : this.orders.children[index];
    this.#open(form, chip ?? this.addSortButton);
    form.querySelector("select")?.focus();
  }

  /**
   * @param {HTMLElement} form
   * @param {Element} anchor
   */
  #open(form, anchor) {
    this.popover.replaceChildren(form);
    showUnder(this.popover, anchor);
  }
}

/**
 * @param {string} column
 * @param {SortKey | undefined} key
 * @returns {SortKey | null}
 */
function nextKey(column, key) {
  if (key === undefined) return { column, direction: "asc", nulls: "default" };
  return key.direction === "asc" ? { ...key, direction: "desc" } : null;
}

/** @param {SortKey} key */
function describeKey({ column, direction, nulls }) {
  const arrow = direction === "asc" ? "↑" : "↓";
  return `${column} ${arrow}${nulls === "default" ? "" : ` nulls ${nulls}`}`;
}

/** Asks for one condition: column, operator, values. */
class FilterForm {
  /**
   * @param {readonly Column[]} columns
   * @param {Condition} start
   * @param {(condition: Condition) => void} onApply
   */
  constructor(columns, start, onApply) {
    this.columns = columns;
    this.values = start.values;
    this.column = choice(
      "Column",
      columns.map(({ name }) => [name, name]),
      start.column,
    );
    this.operator = choice("Operator", [], "");
    this.fields = h("div", { class: "form-values" });
    this.problem = h("p", { class: "form-problem", role: "alert" });
    this.element = h(
      "form",
      {
        class: "query-form",
        "aria-label": "Filter",
        submit: (/** @type {Event} */ event) => this.#submit(event, onApply),
      },
      h("div", { class: "form-row" }, this.column, this.operator),
      this.fields,
      this.problem,
      h("div", { class: "form-end" }, h("button", { type: "submit", class: "primary" }, "Apply")),
    );
    this.column.addEventListener("change", () => this.#offerOperators(this.operator.value));
    this.operator.addEventListener("change", () => this.#offerFields());
    this.#offerOperators(start.operator);
  }

  get #chosen() {
    return this.columns.find(({ name }) => name === this.column.value);
  }

  /** @param {string} wanted */
  #offerOperators(wanted) {
    const column = this.#chosen;
    if (column === undefined) return;
    const names = operatorsFor(column);
    const options = names.map((name) =>
      h("option", { value: name }, OPERATORS[name]?.label ?? name),
    );
    this.operator.replaceChildren(...options);
    this.operator.value = names.includes(wanted) ? wanted : (names[0] ?? "");
    this.#offerFields();
  }

  #offerFields() {
    const [first = "", second = ""] = this.values;
    const column = this.#chosen;
    const isBoolean = column !== undefined && kindOf(column) === "boolean";
    switch (arityOf(this.operator.value)) {
      case "none":
        this.fields.replaceChildren();
        break;
      case "one":
        this.fields.replaceChildren(
          isBoolean
            ? choice(
                "Value",
                [
                  ["true", "true"],
                  ["false", "false"],
                ],
                first || "true",
              )
            : textField("Value", first),
        );
        break;
      case "two":
        this.fields.replaceChildren(
          textField("From", first),
          h("span", {}, "and"),
          textField("To", second),
        );
        break;
      case "list":
        this.fields.replaceChildren(listField(this.values));
        break;
    }
  }

  #read() {
    if (arityOf(this.operator.value) === "list") {
      const text = this.fields.querySelector("textarea")?.value ?? "";
      return text.split("\n").filter((line) => line !== "");
    }
    return [...this.fields.querySelectorAll("input, select")].map(
      (field) => /** @type {HTMLInputElement | HTMLSelectElement} */ (field).value,
    );
  }

  /**
   * @param {Event} event
   * @param {(condition: Condition) => void} onApply
   */
  #submit(event, onApply) {
    event.preventDefault();
    const condition = {
      column: this.column.value,
      operator: this.operator.value,
      values: this.#read(),
    };
    try {
      toWire(
        { table: "", match: "and", conditions: [condition], order: [], limit: 1 },
        this.columns,
      );
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.problem.textContent = error.message;
      return;
    }
    onApply(condition);
  }
}

/**
 * @param {readonly Column[]} columns
 * @param {SortKey} start
 * @param {(key: SortKey) => void} onApply
 */
function sortForm(columns, start, onApply) {
  const column = choice(
    "Column",
    columns.map(({ name }) => [name, name]),
    start.column,
  );
  const direction = choice(
    "Direction",
    [
      ["asc", "ascending ↑"],
      ["desc", "descending ↓"],
    ],
    start.direction,
  );
  const places = [
    ["default", "nulls as usual"],
    ["first", "nulls first"],
    ["last", "nulls last"],
  ];
  const nulls = choice("Nulls", places, start.nulls);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    onApply({
      column: column.value,
      direction: direction.value === "desc" ? "desc" : "asc",
      nulls: nulls.value === "first" || nulls.value === "last" ? nulls.value : "default",
    });
  };
  return h(
    "form",
    { class: "query-form", "aria-label": "Sort key", submit },
    h("div", { class: "form-row" }, column, direction, nulls),
    h("div", { class: "form-end" }, h("button", { type: "submit", class: "primary" }, "Apply")),
  );
}

/**
 * @param {string} label
 * @param {string[][]} options pairs of value and text
 * @param {string} value
 */
function choice(label, options, value) {
  const items = options.map(([name, text]) => h("option", { value: name }, text ?? ""));
  const select = h("select", { "aria-label": label }, ...items);
  if (value !== "") select.value = value;
  return select;
}

/**
 * @param {string} label
 * @param {string} value
 */
function textField(label, value) {
  const field = { type: "text", "aria-label": label, autocomplete: "off", spellcheck: "false" };
  const input = h("input", { ...field, placeholder: label.toLowerCase() });
  input.value = value;
  return input;
}

/** @param {string[]} values */
function listField(values) {
  const area = h("textarea", {
    "aria-label": "Values, one a line",
    rows: 4,
    placeholder: "one value a line",
  });
  area.value = values.join("\n");
  return area;
}
