/**
 * JSON that loses no digit.
 *
 * `JSON.parse` sends every number through a double, so `12.50` becomes `12.5` and an integer above
 * 2^53 becomes another integer. This reader keeps a number's text wherever the double would print
 * differently, and `print` writes that text back. Everything else is ordinary JSON.
 */

/** Nesting deeper than this is refused, so that no frame can exhaust the stack. */
const MAX_DEPTH = 200;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;

/** A number as it was written. */
export class JsonNumber {
  /** @param {string} text a JSON number */
  constructor(text) {
    this.text = text;
  }

  toString() {
    return this.text;
  }
}

/**
 * @typedef {null | boolean | number | string | JsonNumber | JsonValue[] | JsonObject} JsonAny
 * @typedef {JsonAny} JsonValue
 * @typedef {{ [key: string]: any }} JsonObject
 */

/**
 * Reads one JSON text.
 *
 * @param {string} text
 * @returns {any}
 */
export function parse(text) {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.space();
  if (reader.at !== text.length) throw reader.error("more text after the value");
  return value;
}

class Reader {
  /** @param {string} text */
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  /** @param {string} what */
  error(what) {
    return new SyntaxError(`${what} at character ${this.at}`);
  }

  space() {
    SPACE.lastIndex = this.at;
    SPACE.test(this.text);
    this.at = SPACE.lastIndex;
  }

  /**
   * @param {number} depth
   * @returns {any}
   */
  value(depth) {
    if (depth > MAX_DEPTH) throw this.error("nested too deeply");
    this.space();
    switch (this.text[this.at]) {
      case "{":
        return this.object(depth);
      case "[":
        return this.array(depth);
      case '"':
        return this.string();
      case "t":
        return this.word("true", true);
      case "f":
        return this.word("false", false);
      case "n":
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  /**
   * @template T
   * @param {string} word
   * @param {T} value
   */
  word(word, value) {
    if (!this.text.startsWith(word, this.at)) throw this.error("unknown word");
    this.at += word.length;
    return value;
  }

  number() {
    NUMBER.lastIndex = this.at;
    const found = NUMBER.exec(this.text);
    if (found === null) throw this.error("expected a value");
    this.at = NUMBER.lastIndex;
    const value = Number(found[0]);
    return String(value) === found[0] ? value : new JsonNumber(found[0]);
  }

  string() {
    const start = this.at;
    let end = this.text.indexOf('"', start + 1);
    // A quote after an odd run of backslashes is part of the string.
    while (end > 0 && this.isEscaped(end)) end = this.text.indexOf('"', end + 1);
    if (end < 0) throw this.error("unfinished string");
    this.at = end + 1;
    return /** @type {string} */ (JSON.parse(this.text.slice(start, this.at)));
  }

  /** @param {number} at */
  isEscaped(at) {
    let slashes = 0;
    while (this.text[at - 1 - slashes] === "\\") slashes += 1;
    return slashes % 2 === 1;
  }

  /** @param {number} depth */
  array(depth) {
    /** @type {any[]} */
    const items = [];
    this.at += 1;
    this.space();
    if (this.take("]")) return items;
    do {
      items.push(this.value(depth + 1));
      this.space();
    } while (this.take(","));
    if (!this.take("]")) throw this.error("expected , or ]");
    return items;
  }

  /** @param {number} depth */
  object(depth) {
    /** @type {JsonObject} */
    const object = {};
    this.at += 1;
    this.space();
    if (this.take("}")) return object;
    do {
      this.space();
      if (this.text[this.at] !== '"') throw this.error("expected a name");
      const name = this.string();
      this.space();
      if (!this.take(":")) throw this.error("expected :");
      put(object, name, this.value(depth + 1));
      this.space();
    } while (this.take(","));
    if (!this.take("}")) throw this.error("expected , or }");
    return object;
  }

  /** @param {string} char */
  take(char) {
    if (this.text[this.at] !== char) return false;
    this.at += 1;
    return true;
  }
}

/**
 * A column may be called `__proto__`; plain assignment would then set the prototype.
 *
 * @param {JsonObject} object
 * @param {string} name
 * @param {any} value
 */
export function put(object, name, value) {
  if (name !== "__proto__") {
    object[name] = value;
    return;
  }
  const own = { value, enumerable: true, configurable: true, writable: true };
  Object.defineProperty(object, name, own);
}

/**
 * Writes a value as compact JSON, or indented by two spaces.
 *
 * @param {any} value
 * @param {"compact" | "indented"} [style]
 * @returns {string}
 */
export function print(value, style = "compact") {
  return write(value, style === "indented" ? "\n" : "");
}

/**
 * @param {any} value
 * @param {string} line what stands before an item: nothing, or a newline and the indent
 * @returns {string}
 */
function write(value, line) {
  if (value instanceof JsonNumber) return value.text;
  if (value === null || typeof value !== "object") return JSON.stringify(value) ?? "null";
  const inner = line && `${line}  `;
  const isArray = Array.isArray(value);
  const colon = line ? ": " : ":";
  const items = isArray
    ? value.map((item) => inner + write(item, inner))
    : Object.keys(value)
        .filter((name) => value[name] !== undefined)
        .map((name) => inner + JSON.stringify(name) + colon + write(value[name], inner));
  const [opening, closing] = isArray ? "[]" : "{}";
  return items.length === 0 ? `${opening}${closing}` : opening + items.join(",") + line + closing;
}
