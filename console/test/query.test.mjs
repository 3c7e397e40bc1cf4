/**
 * Proves that a query built from typed text has the wire form of its column types, digit for digit,
 * and that it survives the address bar.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { print } from "../public/json.js";
import { OPERATORS, emptyQuery, fromHash, operatorsFor, toHash, toWire } from "../public/query.js";
import { Problem, read, show } from "../public/values.js";

const columns = [
  { name: "big", type: "bigint", nullable: false },
  { name: "price", type: "numeric", nullable: true },
  { name: "ratio", type: "double", nullable: true },
  { name: "name", type: "text", nullable: false },
  { name: "done", type: "boolean", nullable: false },
  { name: "at", type: "timestamptz", nullable: false },
  { name: "doc", type: "json", nullable: true },
];
const column = (name) => columns.find((it) => it.name === name);
const wire = (name, operator, ...values) =>
  print(
    toWire({ ...emptyQuery("t"), conditions: [{ column: name, operator, values }] }, columns)
      .wrapper.filters[0].value,
  );

const cases = [
  [wire("big", "equals", "9223372036854775807"), '{"Int64Value":{"value":"9223372036854775807"}}'],
  [wire("big", "equals", " +007 "), '{"Int64Value":{"value":"7"}}'],
  [wire("big", "inList", "1", "-2"), '{"Int64List":{"values":["1","-2"]}}'],
  [wire("price", "greaterThan", "0.10"), '{"NumberValue":{"value":0.10}}'],
  [
    wire("price", "greaterThan", "123456789012345678901.5"),
    '{"NumberValue":{"value":123456789012345678901.5}}',
  ],
  [wire("price", "notInList", "1.50"), '{"Float64List":{"values":[1.50]}}'],
  [
    wire("price", "between", ".5", "2."),
    '{"RangeValue":{"low":{"NumberValue":{"value":0.5}},"high":{"NumberValue":{"value":2}},' +
      '"include_low":true,"include_high":true}}',
  ],
  [wire("name", "contains", 'a"%_'), '{"StringValue":{"value":"a\\"%_"}}'],
  [wire("name", "inList", "a", "b"), '{"StringList":{"values":["a","b"]}}'],
  [wire("name", "equals", ""), '{"StringValue":{"value":""}}'],
  [wire("done", "equals", "TRUE"), '{"BoolValue":{"value":true}}'],
  [
    wire("at", "lessThan", " 2026-01-02T03:04:05Z "),
    '{"StringValue":{"value":"2026-01-02T03:04:05Z"}}',
  ],
  [wire("name", "isNull"), '{"NullValue":{}}'],
];
cases.forEach(([actual, expected]) => test(expected, () => assert.equal(actual, expected)));

test("what does not fit its column is a sentence that names it", () => {
  for (const [name, text] of [
    ["big", "1.5"],
    ["big", ""],
    ["price", "abc"],
    ["price", "."],
    ["done", "maybe"],
  ]) {
    assert.throws(
      () => wire(name, "equals", text),
      (error) => error instanceof Problem && error.message.includes(name),
    );
  }
  assert.throws(() => wire("price", "between", "1"), Problem);
});

test("no condition is an and, one condition too; or joins several", () => {
  const or = { ...emptyQuery("t"), match: "or" };
  assert.deepEqual(toWire(or, columns).wrapper, { filter_wrapper_type: "and", filters: [] });
  const condition = { column: "name", operator: "isNull", values: [] };
  const type = (conditions) => toWire({ ...or, conditions }, columns).wrapper.filter_wrapper_type;
  assert.deepEqual([type([condition]), type([condition, condition])], ["and", "or"]);
});

test("order keys carry direction and the place of nulls", () => {
  const order = [
    { column: "a", direction: "asc", nulls: "default" },
    { column: "b", direction: "desc", nulls: "first" },
    { column: "c", direction: "asc", nulls: "last" },
  ];
  assert.deepEqual(
    toWire({ ...emptyQuery("t"), order }, columns).order.map(({ sort }) => sort),
    ["ASC_DEFAULT", "DESC_NULLS_FIRST", "ASC_NULLS_LAST"],
  );
});

test("a query survives the address bar, whatever its values hold", () => {
  const query = {
    table: "a?b#c&d:e/%",
    match: "or",
    conditions: [
      { column: "x:y", operator: "inList", values: ["1,2", "a&b=c", "", "50%", "ü"] },
      { column: "z", operator: "isNull", values: [] },
      { column: "w", operator: "between", values: ["1", "2"] },
    ],
    order: [
      { column: "p", direction: "desc", nulls: "default" },
      { column: "q&", direction: "asc", nulls: "first" },
    ],
    limit: 7,
  };
  assert.deepEqual(fromHash(toHash(query)), query);
  assert.deepEqual(fromHash(toHash(emptyQuery("orders"))), emptyQuery("orders"));
  assert.equal(toHash(emptyQuery("orders")), "#orders");
});

test("a hostile address gives a query, never an exception", () => {
  for (const hash of [
    "",
    "#",
    "#%E0%A4%A",
    "#t?where=%&order=&limit=x",
    "#t?where=a:constructor:1&limit=-5&match=xor",
  ]) {
    const query = fromHash(hash);
    assert.deepEqual(query.conditions, []);
    assert.ok(query.limit >= 1);
  }
  assert.equal(fromHash("#t?limit=99999").limit, 1000);
});

test("operators are offered by what a column can do", () => {
  assert.deepEqual(operatorsFor(column("name")), Object.keys(OPERATORS));
  assert.deepEqual(operatorsFor(column("done")), ["equals", "notEquals", "isNull", "isNotNull"]);
  assert.deepEqual(operatorsFor(column("doc")), ["isNull", "isNotNull"]);
  assert.ok(!operatorsFor(column("price")).includes("contains"));
});

test("typed values keep their digits on the way into a write", () => {
  assert.equal(print(read(column("price"), "100.00")), "100.00");
  assert.equal(print(read(column("big"), "9007199254740993")), "9007199254740993");
  assert.equal(print(read(column("ratio"), "-1.5e-3")), "-1.5e-3");
  assert.equal(print(read(column("ratio"), "NaN")), '"NaN"');
  assert.equal(print(read(column("doc"), '{ "a": [1.10] }')), '{"a":[1.10]}');
  assert.equal(read(column("done"), "no"), false);
  assert.throws(() => read(column("doc"), "{a:1}"), Problem);
});

test("cells show moments without T and Z, documents as JSON, null as null", () => {
  assert.equal(show(column("at"), "2026-01-02T03:04:05.678901Z"), "2026-01-02 03:04:05.678901");
  assert.equal(show(column("doc"), { a: 1 }), '{"a":1}');
  assert.equal(show(column("doc"), "text"), '"text"');
  assert.equal(show(column("name"), null), "null");
  assert.equal(show(column("name"), "2026-01-02T03:04:05Z"), "2026-01-02T03:04:05Z");
});
