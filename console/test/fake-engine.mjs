/**
 * A small honest stand-in for the server's engine: tables, commits, and live pages with positions.
 *
 * Written from the client's contract alone. It recomputes every page on every commit, which is the
 * simplest thing that can be right, and keeps a tail of diffs so that a resume is answered in full.
 */

import { parse, print } from "../public/json.js";

const TAIL = 1000;

export class Refused extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

export class Engine {
  /** tenant → table name → table */
  tenants = new Map();
  /** canonical query → channel */
  channels = new Map();
  lsn = 97_500_000_000n;
  epoch = 0;

  tables(tenant) {
    if (!this.tenants.has(tenant)) this.tenants.set(tenant, new Map());
    return this.tenants.get(tenant);
  }

  table(tenant, name) {
    const table = this.tables(tenant).get(name);
    if (!table) throw new Refused("unknown_table", `there is no table ${name}`);
    return table;
  }

  create(tenant, { name, columns, primaryKey }) {
    this.tables(tenant).set(name, { name, tenant, columns, primaryKey, rows: new Map() });
  }

  list(tenant) {
    return [...this.tables(tenant).values()].map(({ name, columns, primaryKey }) => ({
      name,
      columns,
      primaryKey,
      refusal: primaryKey.length > 0 ? null : "a table without a primary key cannot be live",
    }));
  }

  /** Writes rows and tells every page that changes. `null` deletes. */
  commit(table, writes) {
    for (const [pk, row] of writes) {
      if (row === null) table.rows.delete(pk);
      else table.rows.set(pk, row);
    }
    this.lsn += 8n;
    for (const channel of this.channels.values()) {
      if (channel.table === table) this.#publish(channel);
    }
    return String(this.lsn);
  }

  insert(table, given) {
    const row = {};
    for (const column of table.columns) {
      const value = given[column.name];
      row[column.name] = value === undefined ? defaultOf(table, column) : checked(column, value);
    }
    const pk = pkOf(table, row);
    if (table.rows.has(pk)) throw taken(pk);
    return { row, lsn: this.commit(table, [[pk, row]]) };
  }

  update(table, pk, updates) {
    const before = table.rows.get(pk);
    if (!before) return null;
    const row = { ...before };
    for (const [name, value] of Object.entries(updates))
      row[name] = checked(columnOf(table, name), value);
    const newPk = pkOf(table, row);
    if (newPk !== pk && table.rows.has(newPk)) throw taken(newPk);
    const writes =
      newPk === pk
        ? [[pk, row]]
        : [
            [pk, null],
            [newPk, row],
          ];
    return { row, lsn: this.commit(table, writes) };
  }

  remove(table, pk) {
    return table.rows.has(pk) ? this.commit(table, [[pk, null]]) : null;
  }

  /** @returns the channel of a query, opened when nobody has asked it before */
  channel(tenant, tableName, query) {
    const table = this.table(tenant, tableName);
    const key = print([tenant, tableName, query]);
    let channel = this.channels.get(key);
    if (!channel) {
      const page = pageOf(table, query);
      channel = {
        table,
        query,
        page,
        epoch: (this.epoch += 1),
        offset: 0,
        tail: [],
        listeners: new Set(),
      };
      this.channels.set(key, channel);
    }
    return channel;
  }

  snapshot({ table, page, ...at }, reason) {
    const cursor = { lsn: String(this.lsn), position: positionOf(at) };
    return {
      op: "snapshot",
      version: Number(this.lsn),
      cursor,
      rows: page,
      pks: page.map((row) => pkOf(table, row)),
      reason,
    };
  }

  /** The diffs after a position, or null when that cannot be told in full. */
  since(channel, position) {
    const [epoch, offset] = String(position).split("-").map(Number);
    if (epoch !== channel.epoch || offset > channel.offset) return null;
    const missing = channel.tail.slice(channel.tail.length - (channel.offset - offset));
    return missing.length === channel.offset - offset ? missing : null;
  }

  /** Forgets what a resume needs, as a restart without a cache would. */
  forget() {
    for (const channel of this.channels.values()) {
      channel.tail = [];
      channel.epoch = this.epoch += 1;
      channel.offset = 0;
    }
  }

  #publish(channel) {
    const page = pageOf(channel.table, channel.query);
    const changes = diff(channel.table, channel.page, page);
    channel.page = page;
    if (changes.length === 0) return;
    channel.offset += 1;
    const cursor = { lsn: String(this.lsn), position: positionOf(channel) };
    const frame = { op: "diff", version: Number(this.lsn), cursor, changes };
    channel.tail.push(frame);
    if (channel.tail.length > TAIL) channel.tail.shift();
    for (const listener of channel.listeners) listener(frame);
  }
}

function positionOf({ epoch, offset }) {
  return `${epoch}-${offset}`;
}

export function pkOf(table, row) {
  const values = table.primaryKey.map((name) => row[name]);
  return values.length === 1 ? String(values[0]) : print(values);
}

function taken(pk) {
  return new Refused("constraint", `a row with the key ${pk} exists already`);
}

function columnOf(table, name) {
  const column = table.columns.find((it) => it.name === name);
  if (!column) throw new Refused("unknown_column", `there is no column ${name} in ${table.name}`);
  return column;
}

function defaultOf(table, column) {
  if (table.primaryKey.includes(column.name) && isNumeric(column)) {
    return checked(column, 1 + Math.max(0, ...[...table.rows.keys()].map(Number)));
  }
  if (column.nullable) return null;
  throw new Refused("constraint", `${column.name} must not be null`);
}

const isNumeric = ({ type }) =>
  ["smallint", "integer", "bigint", "real", "double", "numeric"].includes(type);

/** A value in the form rows have it: `bigint` and `numeric` are decimal strings. */
function checked(column, value) {
  const { name, type, nullable } = column;
  if (value === null) {
    if (!nullable) throw new Refused("constraint", `${name} must not be null`);
    return null;
  }
  const text = String(value);
  if (isNumeric(column) && !/^-?\d+(\.\d+)?$/.test(text)) {
    throw new Refused("bad_value", `${name} takes a number, not ${JSON.stringify(text)}`);
  }
  if (type === "bigint" || type === "numeric") return text;
  if ((type === "integer" || type === "smallint") && Math.abs(Number(text)) > 2 ** 31) {
    throw new Refused("bad_value", `${text} is out of range for ${name}`);
  }
  if (isNumeric(column)) return Number(text);
  if (type === "date" && !/^\d{4}-\d\d-\d\d$/.test(text)) {
    throw new Refused("bad_value", `${name} takes a date, not ${JSON.stringify(text)}`);
  }
  return value;
}

function pageOf(table, query) {
  const rows = [...table.rows.values()].filter((row) => holds(table, query.wrapper, row));
  const order = [
    ...(query.order ?? []),
    ...table.primaryKey.map((field) => ({ field, sort: "ASC_DEFAULT" })),
  ];
  rows.sort((left, right) => {
    for (const { field, sort = "DESC_DEFAULT" } of order) {
      const way = compareSorted(columnOf(table, field), sort, left[field], right[field]);
      if (way !== 0) return way;
    }
    return 0;
  });
  return rows.slice(0, query.limit ?? 50);
}

/** NULLs are the largest, as in Postgres, unless the sort says otherwise. */
function compareSorted(column, sort, left, right) {
  const isDescending = sort.startsWith("DESC");
  if (left === null || right === null) {
    if (left === right) return 0;
    const isFirst = sort.endsWith("NULLS_FIRST") || sort === "DESC_DEFAULT";
    return (left === null) === isFirst ? -1 : 1;
  }
  const way = compare(column, left, right);
  return isDescending ? -way : way;
}

function compare(column, left, right) {
  if (isNumeric(column)) return Number(left) - Number(right);
  const [a, b] = [String(left), String(right)];
  return a < b ? -1 : a > b ? 1 : 0;
}

function holds(table, node, row) {
  if (!node) return true;
  if (node.filter_wrapper_type) {
    const test = (child) => holds(table, child, row);
    return node.filter_wrapper_type === "or" ? node.filters.some(test) : node.filters.every(test);
  }
  const column = columnOf(table, node.field_name);
  return test(column, node.filter_type, untag(column, node.value), row[column.name]);
}

function untag(column, tagged) {
  const [tag, body] = Object.entries(tagged ?? { NullValue: {} })[0];
  if (tag === "NullValue") return null;
  if (tag === "RangeValue") return [untag(column, body.low), untag(column, body.high)];
  if (tag.endsWith("List")) return body.values.map(String);
  const text = String(body.value);
  if (tag === "StringValue" && isNumeric(column))
    throw new Refused("bad_value", `${column.name} takes a number`);
  if (column.type === "date" && !/^\d{4}-\d\d-\d\d$/.test(text)) {
    throw new Refused("bad_value", `${column.name} takes a date, not ${JSON.stringify(text)}`);
  }
  return text;
}

function test(column, operator, wanted, value) {
  if (operator === "isNull") return value === null;
  if (operator === "isNotNull") return value !== null;
  if (value === null) return false;
  const way = (other) => compare(column, value, other);
  const text = String(value);
  switch (operator) {
    case "equals":
      return way(wanted) === 0;
    case "notEquals":
      return way(wanted) !== 0;
    case "lessThan":
      return way(wanted) < 0;
    case "lessThanOrEquals":
      return way(wanted) <= 0;
    case "greaterThan":
      return way(wanted) > 0;
    case "greaterThanOrEquals":
      return way(wanted) >= 0;
    case "between":
      return way(wanted[0]) >= 0 && way(wanted[1]) <= 0;
    case "notBetween":
      return way(wanted[0]) < 0 || way(wanted[1]) > 0;
    case "inList":
      return wanted.some((it) => way(it) === 0);
    case "notInList":
      return wanted.every((it) => way(it) !== 0);
    case "startsWith":
      return text.startsWith(wanted);
    case "endsWith":
      return text.endsWith(wanted);
    case "contains":
      return text.includes(wanted);
    case "notContains":
      return !text.includes(wanted);
    default:
      throw new Refused("unsupported_operator", `there is no operator ${operator}`);
  }
}

/**
 * One net change from page to page: removals first, by descending index, then each new or changed
 * row is put right after the row it follows. Unchanged rows keep their order, so this is enough.
 */
export function diff(table, before, after) {
  const pk = (row) => pkOf(table, row);
  const wanted = new Map(after.map((row) => [pk(row), row]));
  const changes = [];
  const work = [...before];
  for (let from = work.length - 1; from >= 0; from -= 1) {
    if (wanted.has(pk(work[from]))) continue;
    changes.push({ kind: "removed", pk: pk(work[from]), from });
    work.splice(from, 1);
  }
  after.forEach((row, index) => {
    const key = pk(row);
    const from = work.findIndex((it) => pk(it) === key);
    if (from >= 0 && work[from] === row) return;
    if (from >= 0) work.splice(from, 1);
    const previous = index === 0 ? -1 : work.findIndex((it) => pk(it) === pk(after[index - 1]));
    const pos = previous + 1;
    work.splice(pos, 0, row);
    changes.push(
      from < 0
        ? { kind: "added", pk: key, pos, row }
        : { kind: "modified", pk: key, from, pos, row },
    );
  });
  return changes;
}

export { parse, print };
