/**
 * What a client can know about lag, and no more.
 *
 * Clocks of server and browser are not compared. Three things are measured on one clock: the round
 * trip of a ping, the time from a write's result to the moment this page has passed that commit
 * (`sync` → `synced`), and the number of diffs in each second.
 */

import { need } from "./dom.js";

/** Seconds the sparkline reaches back. */
const SECONDS = 60;
/** Writes whose `synced` may still come; more than this and the oldest is no longer interesting. */
const MAX_PENDING = 50;

export class Meter {
  /** @type {number[]} diffs per second, the running second last */
  #seconds = new Array(SECONDS).fill(0);
  /** @type {Map<string, { answeredAt: number, onSynced: () => void }>} */
  #pending = new Map();

  constructor() {
    this.rate = need("rate", HTMLElement);
    this.roundTrip = need("round-trip", HTMLElement);
    this.commit = need("commit", HTMLElement);
    this.ownWrite = need("own-write", HTMLElement);
    this.line = document.getElementById("spark-line");
    this.area = document.getElementById("spark-area");
    this.#draw();
    setInterval(() => this.#tick(), 1000);
  }

  countDiff() {
    const last = this.#seconds.length - 1;
    this.#seconds[last] = (this.#seconds[last] ?? 0) + 1;
  }

  /** @param {number} ms */
  showRoundTrip(ms) {
    this.roundTrip.textContent = millis(ms);
  }

  /** @param {number} ms */
  showCommit(ms) {
    this.commit.textContent = millis(ms);
  }

  /**
   * A write was answered; its `sync` is on the way.
   *
   * @param {string} lsn
   * @param {() => void} onSynced
   */
  wrote(lsn, onSynced) {
    const oldest = this.#pending.keys().next().value;
    if (this.#pending.size >= MAX_PENDING && oldest !== undefined) this.#pending.delete(oldest);
    this.#pending.set(lsn, { answeredAt: performance.now(), onSynced });
  }

  /** @param {string} lsn */
  synced(lsn) {
    const write = this.#pending.get(lsn);
    if (write === undefined) return;
    this.#pending.delete(lsn);
    this.ownWrite.textContent = millis(performance.now() - write.answeredAt);
    write.onSynced();
  }

  #tick() {
    this.rate.textContent = `${this.#seconds.at(-1) ?? 0}/s`;
    this.#draw();
    this.#seconds = [...this.#seconds.slice(1), 0];
  }

  #draw() {
    const peak = Math.max(4, ...this.#seconds);
    const points = this.#seconds.map((count, second) => {
      const x = (second / (SECONDS - 1)) * 120;
      return `${x.toFixed(1)},${(23 - (count / peak) * 21).toFixed(1)}`;
    });
    this.line?.setAttribute("points", points.join(" "));
    this.area?.setAttribute("points", `0,24 ${points.join(" ")} 120,24`);
  }
}

/** @param {number} ms */
function millis(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}
