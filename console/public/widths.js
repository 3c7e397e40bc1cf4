/**
 * Column widths that grow with what they hold and never shrink, so that a live table stands still.
 *
 * They are estimated from the number of characters: no layout is read, which matters when fifty
 * diffs a second each may bring a longer value.
 */

import { isNumeric, kindOf } from "./values.js";

/** Pixels per character of the table's 13 px tabular text; a little generous. */
const CHAR_PX = 7.6;
const MONO_CHAR_PX = 7.9;
const PADDING_PX = 26;
const MIN_PX = 72;
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
      const chars = Math.max(name.length + 3, (type.length + 6) * 0.9);
      return clamp(chars * CHAR_PX + PADDING_PX);
    });
  }

  /**
   * @param {number} index
   * @param {string} text
   */
  see(index, text) {
    const column = this.columns[index];
    if (column === undefined) return;
    const kind = kindOf(column);
    const charPx = kind === "json" || kind === "other" ? MONO_CHAR_PX : CHAR_PX;
    const pixels = clamp(text.length * charPx + PADDING_PX);
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
      return `minmax(${pixels}px, ${isStretchy ? `${Math.round(pixels)}fr` : `${pixels * 1.25}px`})`;
    });
    const total = this.#pixels.reduce((sum, pixels) => sum + pixels, GUTTER_PX + ACTIONS_PX);
    element.style.setProperty("--tracks", `${GUTTER_PX}px ${tracks.join(" ")} ${ACTIONS_PX}px`);
    element.style.setProperty("--total", `${Math.ceil(total)}px`);
  }
}

/** @param {number} pixels */
function clamp(pixels) {
  return Math.ceil(Math.min(Math.max(pixels, MIN_PX), MAX_PX));
}
