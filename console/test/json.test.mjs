/** Proves that JSON passes through without losing a digit, and that bad JSON is refused. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonNumber, parse, print } from "../public/json.js";

const exact = [
  "12.50",
  "-0",
  "9007199254740993",
  "123456789012345678901234567890.123456789012345678901234567890",
  "1e5",
  "1E-400",
];
for (const text of exact) {
  test(`the number ${text} is read and written as it stands`, () => {
    assert.ok(parse(text) instanceof JsonNumber);
    assert.equal(print(parse(`{"n":[${text}]}`)), `{"n":[${text}]}`);
  });
}

test("whatever JSON.parse reads without loss, parse reads alike", () => {
  const values = [
    null,
    true,
    false,
    0,
    -1,
    1.5,
    2 ** 53,
    "",
    "plain",
    'quotes " and \\ and \\" and \n',
    "\u2028é😀",
    [],
    {},
    [[]],
    { a: {} },
    { a: [1, { b: null }], "": 0, "a b": "\\" },
    '\\\\"',
    "ends with \\",
  ];
  for (const value of values) {
    const text = JSON.stringify(value);
    assert.deepEqual(parse(text), value, text);
    assert.deepEqual(parse(JSON.stringify(value, null, 2)), value, text);
    assert.equal(print(value), text);
    if (value !== null && typeof value === "object") {
      assert.equal(print(value, "indented").replace(/\n */g, "").replaceAll('": ', '":'), text);
    }
  }
});

test("a column called __proto__ is a column", () => {
  const object = parse('{"__proto__":{"polluted":true},"b":1}');
  assert.deepEqual(Object.keys(object), ["__proto__", "b"]);
  assert.equal(object.polluted, undefined);
  assert.equal(print(object), '{"__proto__":{"polluted":true},"b":1}');
});

const bad = [
  "",
  "{",
  "[1,]",
  '{"a"}',
  '{"a":1,}',
  "01",
  "1.",
  ".5",
  "+1",
  "tru",
  "nul",
  '"a',
  '"\n"',
  "1 2",
  "{1:2}",
  "[1}",
  "NaN",
  "'a'",
];
for (const text of bad) {
  test(`${JSON.stringify(text)} is not JSON`, () => {
    assert.throws(() => JSON.parse(text));
    assert.throws(() => parse(text), SyntaxError);
  });
}

test("deep nesting is refused, not a stack overflow", () => {
  assert.throws(() => parse("[".repeat(100_000)), SyntaxError);
});
