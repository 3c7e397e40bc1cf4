/**
 * Column widths that grow with what they hold and never shrink, so that a live table stands still.
 *
 * They are estimated from the number of characters: no layout is read, which matters when fifty
 * diffs a second each may bring a longer value.
 */

import { isNumeric, kindOf } from "./values.js";

/** Pixels per character of the table's 13 px text; tabular digits are wider than most letters. */
const CHAR_PX = 7.1;
const DIGIT_PX = 8.2;
const MONO_CHAR_PX = 7.9;
const HEAD_CHAR_PX = 7.5;
const HEAD_TYPE_CHAR_PX = 6.5;
/** Room beside a name for an arrow and the number of its key. */
const HEAD_SORT_PX = 26;
const PADDING_PX = 26;
const MIN_PX = 64;
const MAX_PX = 340;
const GUTTER_PX = 56;
const ACTIONS_PX = 40;

export class Widths {
  /** @type {number[]} */
  #pixels = [];
  isStale = true;

  /** @param {readonly import("./values.js").Column[]} columns */
  constructor(columns = []) {
    this.columns = columns;
    this.#pixels = columns.map(({ name, type }) => {
      const text = Math.max(
        name.length * HEAD_CHAR_PX + HEAD_SORT_PX,
        type.length * HEAD_TYPE_CHAR_PX,
      );
      return clamp(text + PADDING_PX);
    });
  }

  /**
   * @param {number} index
   * @param {string} text
   */
  see(index, text) {
    const column = this.columns[index];
    if (column === undefined) return;
    const pixels = clamp(text.length * charPxOf(column) + PADDING_PX);
    if (pixels <= (this.#pixels[index] ?? 0)) return;
    this.#pixels[index] = pixels;
    this.isStale = true;
  }

  /** @param {HTMLElement} element */
  applyTo(element) {
    this.isStale = false;
    const tracks = this.#pixels.map((pixels, index) => {
      const column = this.columns[index];
      // Room left over goes to text: numbers read best close to their heading.
      const isStretchy = column !== undefined && !isNumeric(column) && kindOf(column) !== "boolean";
      const most = isStretchy ? `${pixels}fr` : `${pixels * 1.25}px`;
      return `minmax(${pixels}px, ${most})`;
    });
    const total = this.#pixels.reduce((sum, pixels) => sum + pixels, GUTTER_PX + ACTIONS_PX);
    element.style.setProperty("--tracks", `${GUTTER_PX}px ${tracks.join(" ")} ${ACTIONS_PX}px`);
    element.style.setProperty("--total", `${Math.ceil(total)}px`);
  }
}

/** @param {import("./values.js").Column} column */
function charPxOf(column) {
  switch (kindOf(column)) {
    case "integer":
    case "decimal":
    case "float":
    case "moment":
      return DIGIT_PX;
    case "json":
    case "other":
      return MONO_CHAR_PX;
    case "boolean":
    case "text":
      return CHAR_PX;
  }
}

/** @param {number} pixels */
function clamp(pixels) {
  return Math.ceil(Math.min(Math.max(pixels, MIN_PX), MAX_PX));
}
