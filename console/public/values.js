/**
 * Column values as a person reads and types them.
 *
 * `show` turns a JSON value into text for a cell, `read` turns typed text into a JSON value for a
 * write. Numbers stay text from the key press to the frame: neither way makes a double of one.
 */

import { JsonNumber, parse, print } from "./json.js";

/**
 * @typedef {{ name: string, type: string, nullable: boolean }} Column
 * @typedef {"integer" | "decimal" | "float" | "boolean"
 *   | "text" | "moment" | "json" | "other"} Kind
 */

/** Something typed that cannot be sent; the message is a sentence for the person who typed it. */
export class Problem extends Error {}

/** @type {Record<string, Kind>} */
const KINDS = {
  smallint: "integer",
  integer: "integer",
  bigint: "integer",
  numeric: "decimal",
  real: "float",
  double: "float",
  boolean: "boolean",
  text: "text",
  timestamp: "moment",
  timestamptz: "moment",
  date: "moment",
  json: "json",
};

/**
 * @param {Column} column
 * @returns {Kind}
 */
export function kindOf(column) {
  return Object.hasOwn(KINDS, column.type) ? /** @type {Kind} */ (KINDS[column.type]) : "other";
}

/** @param {Column} column */
export function isNumeric(column) {
  const kind = kindOf(column);
  return kind === "integer" || kind === "decimal" || kind === "float";
}

/**
 * A value as the text of its cell.
 *
 * @param {Column} column
 * @param {any} value
 * @returns {string}
 */
export function show(column, value) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "string" && kindOf(column) === "json") return print(value);
  if (typeof value === "object" && !(value instanceof JsonNumber)) return print(value);
  const text = String(value);
  return kindOf(column) === "moment" ? showMoment(text) : text;
}

/**
 * `2026-01-02T03:04:05.678901Z` reads easier without its `T` and `Z`; the cell's title keeps both.
 *
 * @param {string} text
 */
function showMoment(text) {
  const parts = /^(\d{4,}-\d\d-\d\d)T(\d\d:\d\d:\d\d(?:\.\d+)?)Z?$/.exec(text);
  return parts === null ? text : `${parts[1]} ${parts[2]}`;
}

/**
 * A value as the text an editor starts with: what `read` would turn back into it.
 *
 * @param {Column} column
 * @param {any} value
 */
export function editable(column, value) {
  if (value === null || value === undefined) return "";
  if (kindOf(column) === "json") return print(value, "indented");
  return typeof value === "object" && !(value instanceof JsonNumber) ? print(value) : String(value);
}

/**
 * Typed text as the JSON value of a column.
 *
 * @param {Column} column
 * @param {string} text
 * @returns {any}
 * @throws {Problem}
 */
export function read(column, text) {
  switch (kindOf(column)) {
    case "integer":
      return new JsonNumber(integerText(column, text));
    case "decimal":
    case "float":
      return readNumber(column, text);
    case "boolean":
      return readBoolean(column, text);
    case "json":
      return readJson(column, text);
    case "moment":
      return text.trim();
    case "text":
    case "other":
      return text;
  }
}

/**
 * An integer's digits, in the one spelling JSON allows.
 *
 * @param {Column} column
 * @param {string} text
 */
export function integerText(column, text) {
  const parts = /^([+-]?)0*(\d+)$/.exec(text.trim());
  if (parts === null) throw new Problem(`${column.name} takes a whole number, such as 42.`);
  return (parts[1] === "-" ? "-" : "") + parts[2];
}

/**
 * A number's digits as typed, in a spelling JSON allows: `.5` gains a zero, `+` goes.
 *
 * @param {Column} column
 * @param {string} text
 */
export function numberText(column, text) {
  const parts = /^([+-]?)(\d*)(?:\.(\d*))?([eE][+-]?\d+)?$/.exec(text.trim());
  if (parts === null || !(parts[2] || parts[3])) {
    throw new Problem(`${column.name} takes a number, such as 12.50.`);
  }
  const [, sign, whole = "", fraction = "", exponent = ""] = parts;
  const digits = whole.replace(/^0+(?=\d)/, "") || "0";
  return (sign === "-" ? "-" : "") + digits + (fraction && `.${fraction}`) + exponent;
}

/**
 * @param {Column} column
 * @param {string} text
 */
function readNumber(column, text) {
  // Databases know three numbers that JSON does not; they travel as text.
  const special = /^\s*(NaN|-?Infinity)\s*$/.exec(text);
  return special === null ? new JsonNumber(numberText(column, text)) : special[1];
}

/**
 * @param {Column} column
 * @param {string} text
 */
export function readBoolean(column, text) {
  const word = text.trim().toLowerCase();
  if (["true", "t", "yes", "1"].includes(word)) return true;
  if (["false", "f", "no", "0"].includes(word)) return false;
  throw new Problem(`${column.name} takes true or false.`);
}

/**
 * @param {Column} column
 * @param {string} text
 */
function readJson(column, text) {
  try {
    return parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Problem(`${column.name} takes JSON; this has ${why}.`);
  }
}
