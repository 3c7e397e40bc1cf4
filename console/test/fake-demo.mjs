/** Demo tables for the fake server, and a writer that keeps them moving. */

const NAMES = [
  "Ada Lovelace",
  "Grace Hopper",
  "Edsger Dijkstra",
  "Barbara Liskov",
  "Leslie Lamport",
  "Radia Perlman",
  "Tony Hoare",
  "Frances Allen",
  "Ken Thompson",
  "Jim Gray",
  "Lynn Conway",
  "Butler Lampson",
];
const STATES = ["open", "paid", "packed", "shipped", "returned"];
const CITIES = ["Lisbon", "Oslo", "Kyoto", "Quito", "Tartu", "Bergen", "Pune", "Porto"];

/** A seeded generator: the demo looks the same on every start. */
function randomFrom(seed) {
  let state = seed;
  return (below) => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return Math.floor((state / 4_294_967_296) * below);
  };
}

const column = (name, type, nullable = false) => ({ name, type, nullable });

/**
 * @param {import("./fake-engine.mjs").Engine} engine
 * @returns {() => void} stops the writer
 */
export function fillDemo(engine) {
  const random = randomFrom(7);
  const pick = (items) => items[random(items.length)];
  engine.create("demo", {
    name: "orders",
    primaryKey: ["id"],
    columns: [
      column("id", "bigint"),
      column("customer", "text"),
      column("city", "text"),
      column("state", "text"),
      column("items", "integer"),
      column("total", "numeric"),
      column("gift", "boolean"),
      column("note", "text", true),
      column("placed_at", "timestamptz"),
    ],
  });
  engine.create("demo", {
    name: "tickets",
    primaryKey: ["id"],
    columns: [
      column("id", "integer"),
      column("title", "text"),
      column("priority", "smallint"),
      column("tags", "json", true),
      column("done", "boolean"),
    ],
  });
  engine.create("demo", { name: "audit_log", primaryKey: [], columns: [column("line", "text")] });
  engine.table("demo", "audit_log").rows.set("1", { line: "the demo was filled" });
  const money = () => `${5 + random(480)}.${String(random(100)).padStart(2, "0")}`;
  const orders = engine.table("demo", "orders");
  const place = () =>
    engine.insert(orders, {
      customer: pick(NAMES),
      city: pick(CITIES),
      state: "open",
      items: 1 + random(9),
      total: money(),
      gift: random(4) === 0,
      note: random(3) === 0 ? "leave at the door" : null,
      placed_at: new Date(1_780_000_000_000 + random(90_000_000)).toISOString(),
    });
  for (let count = 0; count < 60; count += 1) place();
  const tickets = engine.table("demo", "tickets");
  for (let count = 0; count < 24; count += 1) {
    engine.insert(tickets, {
      title: `Ticket for ${pick(CITIES)}`,
      priority: random(5),
      tags: { area: pick(CITIES), hot: random(2) === 0 },
      done: random(2) === 0,
    });
  }
  const timer = setInterval(() => {
    const dice = random(10);
    const key = pick([...orders.rows.keys()]);
    if (dice === 0 && orders.rows.size < 90) place();
    else if (dice === 1 && orders.rows.size > 40) engine.remove(orders, key);
    else if (dice < 6) engine.update(orders, key, { state: pick(STATES) });
    else engine.update(orders, key, { total: money(), items: 1 + random(9) });
  }, 350);
  return () => clearInterval(timer);
}
