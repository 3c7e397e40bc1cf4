/**
 * The query a person builds: its model, its wire form, and its form in the address bar.
 *
 * The model holds values as typed text. Only `toWire` gives them a type, from the table's columns,
 * so a shared address stays valid when it is opened before the columns are known.
 */

import { JsonNumber } from "./json.js";
import { Problem, integerText, kindOf, numberText, readBoolean } from "./values.js";

/**
 * @typedef {import("./values.js").Column} Column
 * @typedef {{ column: string, operator: string, values: string[] }} Condition
 * @typedef {{ column: string, direction: "asc" | "desc",
 *   nulls: "default" | "first" | "last" }} SortKey
 *
 * @typedef {object} Query
 * @property {string} table
 * @property {"and" | "or"} match
 * @property {Condition[]} conditions
 * @property {SortKey[]} order
 * @property {number} limit
 *
 * @typedef {"none" | "one" | "two" | "list"} Arity how many values an operator takes
 * @typedef {"any" | "ordered" | "text"} Fit which columns an operator is offered for
 */

export const DEFAULT_LIMIT = 50;
export const MAX_LIMIT = 1000;

/** @type {Record<string, { sign: string, label: string, arity: Arity, fit: Fit }>} */
export const OPERATORS = {
  equals: { sign: "=", label: "equals", arity: "one", fit: "any" },
  notEquals: { sign: "≠", label: "does not equal", arity: "one", fit: "any" },
  lessThan: { sign: "<", label: "is less than", arity: "one", fit: "ordered" },
  lessThanOrEquals: { sign: "≤", label: "is at most", arity: "one", fit: "ordered" },
  greaterThan: { sign: ">", label: "is greater than", arity: "one", fit: "ordered" },
  greaterThanOrEquals: { sign: "≥", label: "is at least", arity: "one", fit: "ordered" },
  between: { sign: "between", label: "is between", arity: "two", fit: "ordered" },
  notBetween: { sign: "not between", label: "is not between", arity: "two", fit: "ordered" },
  inList: { sign: "in", label: "is one of", arity: "list", fit: "ordered" },
  notInList: { sign: "not in", label: "is none of", arity: "list", fit: "ordered" },
  startsWith: { sign: "starts with", label: "starts with", arity: "one", fit: "text" },
  endsWith: { sign: "ends with", label: "ends with", arity: "one", fit: "text" },
  contains: { sign: "contains", label: "contains", arity: "one", fit: "text" },
  notContains: { sign: "lacks", label: "does not contain", arity: "one", fit: "text" },
  isNull: { sign: "is null", label: "is null", arity: "none", fit: "any" },
  isNotNull: { sign: "is not null", label: "is not null", arity: "none", fit: "any" },
};

/**
 * @param {string} table
 * @returns {Query}
 */
export function emptyQuery(table) {
  return { table, match: "and", conditions: [], order: [], limit: DEFAULT_LIMIT };
}

/** @param {string} operator */
export function arityOf(operator) {
  return OPERATORS[operator]?.arity ?? "one";
}

/**
 * The operators that make sense for a column, in the order they are offered.
 *
 * @param {Column} column
 */
export function operatorsFor(column) {
  const kind = kindOf(column);
  return Object.keys(OPERATORS).filter((name) => {
    const fit = OPERATORS[name]?.fit;
    if (kind === "json") return arityOf(name) === "none";
    if (kind === "boolean") return fit === "any";
    return fit !== "text" || kind === "text";
  });
}

/**
 * The query as a subscribe frame carries it.
 *
 * @param {Query} query
 * @param {readonly Column[]} columns
 * @throws {Problem}
 */
export function toWire(query, columns) {
  // An empty `or` is an error on the wire, an empty `and` is true; so no condition is an `and`.
  const type = query.conditions.length > 1 ? query.match : "and";
  const filters = query.conditions.map((condition) => filterToWire(condition, columns));
  const order = query.order.map(({ column, direction, nulls }) => ({
    field: column,
    sort: `${direction}_${nulls === "default" ? nulls : `nulls_${nulls}`}`.toUpperCase(),
  }));
  return { wrapper: { filter_wrapper_type: type, filters }, order, limit: query.limit };
}

/**
 * @param {Condition} condition
 * @param {readonly Column[]} columns
 */
function filterToWire(condition, columns) {
  const { column: name, operator, values } = condition;
  // An unknown column goes out as text: the server's answer says it better than we could.
  const column = columns.find((it) => it.name === name) ?? { name, type: "text", nullable: true };
  const filter = { field_name: name, filter_type: operator };
  switch (arityOf(operator)) {
    case "none":
      return { ...filter, value: { NullValue: {} } };
    case "one":
      return { ...filter, value: tagged(column, values[0] ?? "") };
    case "two":
      return { ...filter, value: range(column, values) };
    case "list":
      return { ...filter, value: list(column, values) };
  }
}

/**
 * @param {Column} column
 * @param {string} text
 */
function tagged(column, text) {
  switch (kindOf(column)) {
    case "integer":
      return { Int64Value: { value: integerText(column, text) } };
    case "decimal":
    case "float":
      return { NumberValue: { value: new JsonNumber(numberText(column, text)) } };
    case "boolean":
      return { BoolValue: { value: readBoolean(column, text) } };
    case "moment":
      return { StringValue: { value: text.trim() } };
    case "text":
    case "json":
    case "other":
      return { StringValue: { value: text } };
  }
}

/**
 * @param {Column} column
 * @param {string[]} values
 */
function range(column, values) {
  const [low, high] = values;
  if (!low || !high) throw new Problem(`${column.name} between: both ends are needed.`);
  const ends = { low: tagged(column, low), high: tagged(column, high) };
  return { RangeValue: { ...ends, include_low: true, include_high: true } };
}

/**
 * @param {Column} column
 * @param {string[]} texts
 */
function list(column, texts) {
  switch (kindOf(column)) {
    case "integer":
      return { Int64List: { values: texts.map((text) => integerText(column, text)) } };
    case "decimal":
    case "float": {
      const values = texts.map((text) => new JsonNumber(numberText(column, text)));
      return { Float64List: { values } };
    }
    case "boolean":
      return { BoolList: { values: texts.map((text) => readBoolean(column, text)) } };
    case "moment":
    case "text":
    case "json":
    case "other":
      return { StringList: { values: texts } };
  }
}

/**
 * A condition as the text of its chip.
 *
 * @param {Condition} condition
 */
export function describe({ column, operator, values }) {
  const sign = OPERATORS[operator]?.sign ?? operator;
  switch (arityOf(operator)) {
    case "none":
      return `${column} ${sign}`;
    case "one":
      return `${column} ${sign} ${values[0] === "" ? "“”" : (values[0] ?? "")}`;
    case "two":
      return `${column} ${sign} ${values[0] ?? ""} and ${values[1] ?? ""}`;
    case "list":
      return `${column} ${sign} ${values.join(", ")}`;
  }
}

/**
 * The query as a location hash, readable and short: `#orders?where=price:greaterThan:10&limit=20`.
 *
 * @param {Query} query
 */
export function toHash(query) {
  const text = encodeURIComponent;
  const parts = query.conditions.map(
    ({ column, operator, values }) => `where=${[column, operator, ...values].map(text).join(":")}`,
  );
  if (query.match === "or") parts.push("match=or");
  for (const { column, direction, nulls } of query.order) {
    parts.push(`order=${text(column)}:${direction}${nulls === "default" ? "" : `:${nulls}`}`);
  }
  if (query.limit !== DEFAULT_LIMIT) parts.push(`limit=${query.limit}`);
  return `#${text(query.table)}${parts.length > 0 ? `?${parts.join("&")}` : ""}`;
}

/**
 * Reads a location hash. What cannot be read is left out: an address is hostile input.
 *
 * @param {string} hash
 * @returns {Query}
 */
export function fromHash(hash) {
  const [table = "", parts = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const query = emptyQuery(decode(table));
  for (const part of parts.split("&")) {
    const [name, text = ""] = part.split(/=(.*)/s);
    const fields = text.split(":").map(decode);
    if (name === "where") addCondition(query, fields);
    else if (name === "order") addSortKey(query, fields);
    else if (name === "match" && text === "or") query.match = "or";
    else if (name === "limit") query.limit = clampLimit(text);
  }
  return query;
}

/** @param {string} text */
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * @param {Query} query
 * @param {string[]} fields
 */
function addCondition(query, [column = "", operator = "", ...values]) {
  if (column !== "" && Object.hasOwn(OPERATORS, operator)) {
    query.conditions.push({ column, operator, values });
  }
}

/**
 * @param {Query} query
 * @param {string[]} fields
 */
function addSortKey(query, [column = "", way, nulls]) {
  if (column === "") return;
  const direction = way === "desc" ? "desc" : "asc";
  query.order.push({
    column,
    direction,
    nulls: nulls === "first" || nulls === "last" ? nulls : "default",
  });
}

/** @param {string} text */
export function clampLimit(text) {
  const limit = Math.trunc(Number(text));
  return Number.isFinite(limit) ? Math.min(Math.max(limit, 1), MAX_LIMIT) : DEFAULT_LIMIT;
}
