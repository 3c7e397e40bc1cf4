/**
 * A live page as a pure state machine: `reduce(page, frame)`.
 *
 * It follows the client's contract literally and knows nothing else: no socket, no clock, no DOM.
 * A snapshot replaces the page, a diff is replayed on the array in the order given, a position is
 * opaque text that is only ever handed back. A frame that does not fit the page makes it `broken`:
 * the caller then subscribes afresh, for a wrong row on screen is worse than a second snapshot.
 */

import { print } from "./json.js";

/** The codes of a `sync` that failed. They carry a `hashId`, yet the subscription goes on. */
const SYNC_CODES = ["sync_timeout", "unknown_subscription", "bad_lsn"];

/**
 * opening: subscribed, nothing seen yet (after a lost connection the old rows stay visible);
 * accepted: acked; live: rows are current up to `position`; ended: refused or ended by an error;
 * broken: the server's frame did not fit.
 *
 * @typedef {"opening" | "accepted" | "live" | "ended" | "broken"} Phase
 *
 * @typedef {{ [column: string]: any }} Row
 *
 * @typedef {{ code: string, message: string, retry: boolean }} Failure
 *
 * @typedef {object} Page
 * @property {string} hashId
 * @property {Phase} phase
 * @property {readonly Row[]} rows
 * @property {readonly string[]} pks the rows' keys, in the same order
 * @property {string | null} position
 * @property {string | null} lsn
 * @property {string | null} reason why the last snapshot came
 * @property {Failure | null} failure
 * @property {number} diffs how many were applied since the snapshot
 *
 * @typedef {{ op?: string, type?: string, [field: string]: any }} Frame
 *
 * @typedef {object} Mark what one change of a diff does to the eye
 * @property {"added" | "removed" | "changed"} kind
 * @property {string} pk
 * @property {"up" | "down" | "still"} move
 * @property {string[]} columns the columns whose values differ
 */

/**
 * A page that has just been asked for.
 *
 * @param {string} hashId
 * @returns {Page}
 */
export function open(hashId) {
  return {
    hashId,
    phase: "opening",
    rows: [],
    pks: [],
    position: null,
    lsn: null,
    reason: null,
    failure: null,
    diffs: 0,
  };
}

/**
 * The page after its connection is gone: the rows stay, and the position is what to resume from.
 *
 * @param {Page} page
 * @returns {Page}
 */
export function lost(page) {
  return page.phase === "ended" || page.phase === "broken" ? page : { ...page, phase: "opening" };
}

/**
 * The page after one frame. Frames of other subscriptions leave it as it is.
 *
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Page}
 */
export function reduce(page, frame) {
  if (frame.hashId !== page.hashId || page.phase === "ended" || page.phase === "broken") {
    return page;
  }
  switch (frame.op) {
    case "ack":
      return page.phase === "opening" ? { ...page, phase: "accepted" } : page;
    case "snapshot":
      return snapshot(page, frame);
    case "resumed":
      return resumed(page, frame);
    case "diff":
      return diff(page, frame);
    case "error":
      return failed(page, frame);
    default:
      return page;
  }
}

/**
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Page}
 */
function snapshot(page, frame) {
  const { rows, pks, cursor } = frame;
  const fits = Array.isArray(rows) && Array.isArray(pks) && rows.length === pks.length;
  if (!fits || !isCursor(cursor)) return broken(page, "a snapshot without rows, keys or position");
  return {
    ...page,
    phase: "live",
    rows,
    pks,
    position: cursor.position,
    lsn: lsnOf(cursor),
    reason: String(frame.reason ?? "subscribe"),
    failure: null,
    diffs: 0,
  };
}

/**
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Page}
 */
function resumed(page, frame) {
  // Without a position there was nothing to resume; what this would make current is unknown.
  if (page.position === null) return broken(page, "a resume that was not asked for");
  if (!isCursor(frame.cursor)) return broken(page, "a resume without a position");
  // The cursor tells how far the missing diffs will reach, or where the client stood; either way
  // our own position only moves when a diff is applied.
  return { ...page, phase: "live", failure: null };
}

/**
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Page}
 */
function diff(page, frame) {
  if (page.phase !== "live") return broken(page, "a diff before any page");
  if (!Array.isArray(frame.changes) || !isCursor(frame.cursor)) {
    return broken(page, "a diff without changes or position");
  }
  const rows = page.rows.slice();
  const pks = page.pks.slice();
  for (const change of frame.changes) {
    if (!replay(rows, pks, change)) return broken(page, "a change that does not fit the page");
  }
  const { position } = frame.cursor;
  return { ...page, rows, pks, position, lsn: lsnOf(frame.cursor), diffs: page.diffs + 1 };
}

/**
 * Replays one change in place, and tells whether it fitted.
 *
 * @param {Row[]} rows
 * @param {string[]} pks
 * @param {any} change
 * @returns {boolean}
 */
function replay(rows, pks, change) {
  const { kind, pk, from, pos, row } = change ?? {};
  switch (kind) {
    case "removed":
      return take(rows, pks, pk, from);
    case "added":
      return insert(rows, pks, pk, pos, row);
    case "modified":
      return take(rows, pks, pk, from) && insert(rows, pks, pk, pos, row);
    default:
      return false;
  }
}

/**
 * @param {Row[]} rows
 * @param {string[]} pks
 * @param {string} pk
 * @param {number} from
 */
function take(rows, pks, pk, from) {
  if (!Number.isInteger(from) || pks[from] !== pk) return false;
  rows.splice(from, 1);
  pks.splice(from, 1);
  return true;
}

/**
 * @param {Row[]} rows
 * @param {string[]} pks
 * @param {string} pk
 * @param {number} pos
 * @param {Row} row
 */
function insert(rows, pks, pk, pos, row) {
  const isInside = Number.isInteger(pos) && pos >= 0 && pos <= pks.length;
  if (!isInside || typeof pk !== "string" || row === null || typeof row !== "object") return false;
  rows.splice(pos, 0, row);
  pks.splice(pos, 0, pk);
  return true;
}

/**
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Page}
 */
function failed(page, frame) {
  const code = String(frame.code ?? "unknown");
  if (SYNC_CODES.includes(code)) return page;
  const message = String(frame.message ?? "The server ended this subscription.");
  return { ...page, phase: "ended", failure: { code, message, retry: frame.retry === true } };
}

/**
 * @param {Page} page
 * @param {string} what
 * @returns {Page}
 */
function broken(page, what) {
  const failure = { code: "bad_frame", message: `The server sent ${what}.`, retry: true };
  return { ...page, phase: "broken", failure };
}

/** @param {any} cursor */
function isCursor(cursor) {
  return typeof cursor?.position === "string";
}

/** @param {any} cursor */
function lsnOf(cursor) {
  return cursor.lsn === undefined ? null : String(cursor.lsn);
}

/**
 * What a diff changes for the eye, read against the page before it.
 *
 * @param {Page} page
 * @param {Frame} frame
 * @returns {Mark[]}
 */
export function marks(page, frame) {
  if (frame.op !== "diff" || frame.hashId !== page.hashId || !Array.isArray(frame.changes)) {
    return [];
  }
  const before = new Map(page.pks.map((pk, index) => [pk, page.rows[index]]));
  return frame.changes.map((change) => markOf(change, before));
}

/**
 * @param {any} change
 * @param {Map<string, Row | undefined>} before
 * @returns {Mark}
 */
function markOf(change, before) {
  const pk = String(change?.pk);
  if (change?.kind === "added") return { kind: "added", pk, move: "still", columns: [] };
  if (change?.kind !== "modified") return { kind: "removed", pk, move: "still", columns: [] };
  const move = change.pos < change.from ? "up" : change.pos > change.from ? "down" : "still";
  return { kind: "changed", pk, move, columns: changedColumns(before.get(pk), change.row) };
}

/**
 * The columns whose values differ.
 *
 * @param {Row | undefined} before
 * @param {Row} after
 * @returns {string[]}
 */
export function changedColumns(before, after) {
  if (before === undefined || after === null || typeof after !== "object") return [];
  return Object.keys(after).filter((column) => !same(before[column], after[column]));
}

/**
 * @param {any} left
 * @param {any} right
 */
function same(left, right) {
  if (left === right) return true;
  const isNested = typeof left === "object" && typeof right === "object";
  return isNested && print(left) === print(right);
}
