/**
 * Proves that `reduce` applies snapshot, diff and resume exactly as the contract says, for scripted
 * frames and for thousands of random ones, and that a frame that does not fit breaks the page.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { diff as diffOf } from "./fake-engine.mjs";
import { lost, marks, open, reduce } from "../public/live.js";

const snapshot = (pks, position = "1-0", more = {}) => ({
  op: "snapshot",
  hashId: "q",
  cursor: { lsn: "10", position },
  rows: pks.map((pk) => ({ id: pk })),
  pks,
  reason: "subscribe",
  ...more,
});
const diff = (changes, position = "1-1") => ({
  op: "diff",
  hashId: "q",
  cursor: { lsn: "11", position },
  changes,
});
const run = (frames, page = open("q")) => frames.reduce(reduce, page);

test("ack, then snapshot: the page is live at the snapshot's position", () => {
  const accepted = run([{ op: "ack", hashId: "q" }]);
  assert.equal(accepted.phase, "accepted");
  const page = run([snapshot(["a", "b"])], accepted);
  assert.equal(page.phase, "live");
  assert.deepEqual(page.pks, ["a", "b"]);
  assert.equal(page.position, "1-0");
  assert.equal(page.lsn, "10");
});

test("a diff is replayed in the order given, and its position is the new one", () => {
  const page = run([
    snapshot(["a", "b", "c", "d"]),
    diff(
      [
        { kind: "removed", pk: "d", from: 3 },
        { kind: "removed", pk: "b", from: 1 },
        { kind: "added", pk: "e", pos: 0, row: { id: "e" } },
        { kind: "modified", pk: "c", from: 2, pos: 1, row: { id: "c", n: 1 } },
      ],
      "7-41",
    ),
  ]);
  assert.deepEqual(page.pks, ["e", "c", "a"]);
  assert.deepEqual(page.rows[1], { id: "c", n: 1 });
  assert.equal(page.position, "7-41");
  assert.equal(page.diffs, 1);
});

test("reduce changes no page it was given", () => {
  const before = Object.freeze(run([snapshot(["a", "b"])]));
  Object.freeze(before.rows);
  Object.freeze(before.pks);
  const after = reduce(before, diff([{ kind: "removed", pk: "a", from: 0 }]));
  assert.deepEqual(before.pks, ["a", "b"]);
  assert.deepEqual(after.pks, ["b"]);
});

test("a position is opaque: any text is kept as it is", () => {
  const odd = "18446744073709551615-9007199254740993 ünïcode";
  assert.equal(run([snapshot([], odd)]).position, odd);
});

test("a lost connection keeps rows and position; resumed makes them live again", () => {
  const gone = lost(run([snapshot(["a"]), diff([], "1-9")]));
  assert.equal(gone.phase, "opening");
  assert.deepEqual([gone.pks, gone.position], [["a"], "1-9"]);
  const back = run(
    [
      { op: "ack", hashId: "q" },
      { op: "resumed", hashId: "q", cursor: { position: "1-9" } },
    ],
    gone,
  );
  assert.equal(back.phase, "live");
  const next = reduce(back, diff([{ kind: "removed", pk: "a", from: 0 }], "1-10"));
  assert.deepEqual([next.pks, next.position], [[], "1-10"]);
});

test("a resume that could not be complete is a snapshot, and replaces everything", () => {
  const gone = lost(run([snapshot(["a", "b"])]));
  const back = reduce(gone, snapshot(["z"], "2-0", { reason: "unrecoverable" }));
  assert.deepEqual([back.pks, back.position, back.reason], [["z"], "2-0", "unrecoverable"]);
});

test("frames of another subscription, and unknown ops, change nothing", () => {
  const page = run([snapshot(["a"])]);
  assert.equal(
    reduce(page, { ...diff([{ kind: "removed", pk: "a", from: 0 }]), hashId: "other" }),
    page,
  );
  assert.equal(reduce(page, { op: "rangeIndex", hashId: "q", pks: [] }), page);
  assert.equal(reduce(page, { type: "welcome" }), page);
});

test("an error ends the subscription, a failed sync does not", () => {
  const page = run([snapshot(["a"])]);
  for (const code of ["sync_timeout", "unknown_subscription", "bad_lsn"]) {
    assert.equal(
      reduce(page, { op: "error", hashId: "q", code, message: "no", retry: true }),
      page,
    );
  }
  const error = {
    op: "error",
    hashId: "q",
    code: "bad_query",
    message: "no such column",
    retry: false,
  };
  const ended = reduce(page, error);
  assert.equal(ended.phase, "ended");
  assert.deepEqual(ended.failure, { code: "bad_query", message: "no such column", retry: false });
  assert.equal(reduce(ended, snapshot(["z"])), ended);
});

const misfits = {
  "a removal of a row that is not there": [{ kind: "removed", pk: "z", from: 0 }],
  "a removal past the end": [{ kind: "removed", pk: "a", from: 9 }],
  "an insert past the end": [{ kind: "added", pk: "z", pos: 3, row: {} }],
  "an insert at a fraction": [{ kind: "added", pk: "z", pos: 0.5, row: {} }],
  "an insert without a row": [{ kind: "added", pk: "z", pos: 0 }],
  "a modification of another row": [{ kind: "modified", pk: "a", from: 1, pos: 0, row: {} }],
  "an unknown kind": [{ kind: "swapped", pk: "a" }],
  "no change at all": [null],
  "no list": "nonsense",
};
for (const [what, changes] of Object.entries(misfits)) {
  test(`${what} breaks the page instead of showing wrong rows`, () => {
    const before = run([snapshot(["a", "b"])]);
    const page = reduce(before, diff(changes));
    assert.equal(page.phase, "broken");
    assert.equal(page.failure?.retry, true);
    assert.deepEqual(page.pks, ["a", "b"]);
  });
}

test("a diff before any page, a snapshot without keys, a resume of nothing: broken", () => {
  assert.equal(run([diff([])]).phase, "broken");
  assert.equal(run([{ ...snapshot(["a"]), pks: undefined }]).phase, "broken");
  assert.equal(run([{ ...snapshot(["a"]), cursor: {} }]).phase, "broken");
  assert.equal(run([{ op: "resumed", hashId: "q", cursor: { position: "1-1" } }]).phase, "broken");
});

test("marks tell added from changed, the columns that differ, and the way a row moved", () => {
  const page = run([
    {
      ...snapshot(["a", "b"]),
      rows: [
        { id: "a", n: 1, doc: { x: [1] } },
        { id: "b", n: 2, doc: null },
      ],
    },
  ]);
  const frame = diff([
    { kind: "removed", pk: "a", from: 0 },
    { kind: "added", pk: "c", pos: 0, row: { id: "c" } },
    { kind: "modified", pk: "b", from: 1, pos: 0, row: { id: "b", n: 3, doc: null } },
  ]);
  assert.deepEqual(marks(page, frame), [
    { kind: "removed", pk: "a", move: "still", columns: [] },
    { kind: "added", pk: "c", move: "still", columns: [] },
    { kind: "changed", pk: "b", move: "up", columns: ["n"] },
  ]);
  const same = diff([
    { kind: "modified", pk: "a", from: 0, pos: 1, row: { id: "a", n: 1, doc: { x: [1] } } },
  ]);
  assert.deepEqual(marks(page, same), [{ kind: "changed", pk: "a", move: "down", columns: [] }]);
});

test("whatever a page becomes, replaying its diffs gives exactly that page", () => {
  const random = seeded(11);
  const table = { primaryKey: ["id"] };
  let rows = [];
  let page = run([snapshot([])]);
  for (let step = 0; step < 2000; step += 1) {
    const next = mutated(rows, random);
    page = reduce(page, diff(diffOf(table, rows, next), `1-${step + 1}`));
    assert.equal(page.phase, "live", `step ${step}`);
    assert.deepEqual(page.rows, next, `step ${step}`);
    assert.deepEqual(
      page.pks,
      next.map(({ id }) => id),
    );
    rows = next;
  }
});

/** Some rows gone, some new, some changed and thereby moved; the others keep their order. */
function mutated(rows, random) {
  const kept = rows.filter(() => random(6) !== 0);
  const changed = kept.map((row) => (random(4) === 0 ? { ...row, rank: random(1000) } : row));
  const fresh = Array.from({ length: random(4) }, () => ({
    id: `r${random(1e9)}`,
    rank: random(1000),
  }));
  const unique = new Map([...changed, ...fresh].map((row) => [row.id, row]));
  return [...unique.values()]
    .sort((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1))
    .slice(0, 20);
}

function seeded(seed) {
  let state = seed;
  return (below) => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return Math.floor((state / 4_294_967_296) * below);
  };
}
