/**
 * Proves that the page does what it says, in a real Chromium and over the public protocol only:
 * against the fake server, or against the binary named by TIDEGATE_BIN.
 */

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Outside, Screen, freshTenant, isReal, launch, startServer } from "./harness.mjs";

const CALLS_AT_ONCE = 32;

let server;
let browser;

before(async () => {
  [server, browser] = await Promise.all([startServer(), launch()]);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const STOCK = [
  { id: 1, name: "anchor", qty: 5, price: "10.5", note: null, due: "2026-01-05", big: "1" },
  {
    id: 2,
    name: "buoy",
    qty: 9,
    price: "2.25",
    note: "red",
    due: "2026-02-01",
    big: "9007199254740993",
  },
  { id: 3, name: "cleat", qty: 1, price: "7.5", note: null, due: null, big: null },
  { id: 4, name: "davit", qty: 7, price: "99.99", note: "left", due: "2026-03-09", big: "-4" },
];

/** Does something so many times, as many at once as the server takes from one client. */
async function inTurns(count, act) {
  for (let start = 0; start < count; start += CALLS_AT_ONCE) {
    const turn = Array.from({ length: Math.min(CALLS_AT_ONCE, count - start) });
    await Promise.all(turn.map((_, index) => act(start + index)));
  }
}

/** Runs a test on a tenant of its own with four rows, and checks that the page met no error. */
function screenTest(name, { hash = "#stock", rows = STOCK, ...options }, body) {
  test(name, { skip: options.skip }, async () => {
    const tenant = freshTenant();
    const outside = await Outside.connect(server.url, tenant);
    await outside.createStock();
    for (const row of rows) await outside.add(row);
    const screen = await Screen.open(browser, server.url, { tenant, hash, ...options });
    try {
      await body(screen, outside, tenant);
      assert.deepEqual(screen.trouble, [], "the page logged errors");
    } finally {
      await screen.close();
      outside.close();
    }
  });
}

screenTest(
  "a table loads, and what others write appears by itself",
  { hash: "" },
  async (screen, outside) => {
    await screen.showsColumn("name", ["anchor", "buoy", "cleat", "davit"]);
    await screen.showsColumn("big", ["1", "9007199254740993", "null", "-4"]);
    await screen.until(() => screen.text("#connection-text"), "Live");
    assert.match(await screen.page.title(), /^stock/);
    await outside.add({ id: 5, name: "eyelet", qty: 3 });
    await screen.showsColumn("name", ["anchor", "buoy", "cleat", "davit", "eyelet"]);
    await screen.page.waitForSelector('.row.added[data-pk="5"]');
    await outside.remove(2);
    await screen.showsColumn("name", ["anchor", "cleat", "davit", "eyelet"]);
  },
);

screenTest(
  "filters and order are made with the keyboard, and stay in the address",
  {},
  async (screen, outside) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    await screen.press("/");
    await screen.page.getByLabel("Column", { exact: true }).selectOption("qty");
    await screen.page.getByLabel("Operator").selectOption("greaterThan");
    await screen.page.getByLabel("Value").fill("4");
    await screen.press("Enter");
    await screen.showsColumn("id", ["1", "2", "4"]);
    const sortByQty = screen.page.getByRole("columnheader", { name: /^qty/ }).getByRole("button");
    await sortByQty.click();
    await screen.showsColumn("qty", ["5", "7", "9"]);
    await sortByQty.click();
    await screen.showsColumn("qty", ["9", "7", "5"]);
    await outside.update(3, { qty: 8 });
    await screen.showsColumn("qty", ["9", "8", "7", "5"]);
    await screen.page.getByLabel("Limit").fill("2");
    await screen.press("Enter");
    await screen.showsColumn("qty", ["9", "8"]);
    assert.match(screen.page.url(), /#stock\?where=qty:greaterThan:4&order=qty:desc&limit=2$/);
    await screen.page.reload();
    await screen.showsColumn("qty", ["9", "8"]);
    await screen.page.goBack();
    await screen.showsColumn("qty", ["9", "8", "7", "5"]);
    await screen.page.getByRole("button", { name: "Remove filter: qty > 4" }).click();
    await screen.page.getByRole("button", { name: "Remove sort key: qty ↓" }).click();
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
  },
);

const filters = [
  ["where=qty:between:5:7", ["1", "4"]],
  ["where=qty:notBetween:5:7", ["2", "3"]],
  ["where=qty:inList:1:9", ["2", "3"]],
  ["where=name:notInList:anchor:buoy", ["3", "4"]],
  ["where=note:isNull", ["1", "3"]],
  ["where=note:isNotNull", ["2", "4"]],
  ["where=name:startsWith:a", ["1"]],
  ["where=name:endsWith:t", ["3", "4"]],
  ["where=name:contains:o", ["1", "2"]],
  ["where=name:notContains:o", ["3", "4"]],
  ["where=price:lessThanOrEquals:7.50", ["2", "3"]],
  ["where=price:inList:10.5:99.99", ["1", "4"]],
  ["where=due:greaterThanOrEquals:2026-02-01", ["2", "4"]],
  ["where=big:equals:9007199254740993", ["2"]],
  ["where=qty:equals:1&where=name:equals:buoy&match=or", ["2", "3"]],
  ["where=qty:lessThan:9&where=name:notEquals:anchor", ["3", "4"]],
  ["order=note:asc:first&order=id:desc", ["3", "1", "4", "2"]],
  ["order=note:desc:last", ["2", "4", "1", "3"]],
];
screenTest(
  "each operator, both matches and the place of nulls do what their address says",
  {},
  async (screen) => {
    for (const [query, ids] of filters) {
      await screen.page.evaluate((hash) => (location.hash = hash), `#stock?${query}`);
      await screen.until(async () => [query, await screen.column("id")], [query, ids]);
    }
  },
);

screenTest("a changed cell flashes, and only that cell", {}, async (screen, outside) => {
  await screen.showsColumn("qty", ["5", "9", "1", "7"]);
  await outside.update(2, { qty: 10 });
  await screen.showsColumn("qty", ["5", "10", "1", "7"]);
  await screen.page.waitForFunction(() => document.querySelectorAll(".changed").length === 1);
  assert.match(await screen.cell(2, "qty").getAttribute("class"), /\bchanged\b/);
  await screen.page.waitForFunction(() => document.querySelector(".changed") === null);
});

screenTest(
  "a moved row is marked with its way, and reading order follows",
  { hash: "#stock?order=qty:desc" },
  async (screen, outside) => {
    await screen.showsColumn("id", ["2", "4", "1", "3"]);
    await outside.update(3, { qty: 100 });
    await screen.page.waitForSelector('.row.moved-up[data-pk="3"][aria-rowindex="2"]');
    assert.equal(await screen.text('.row[data-pk="3"] .sign'), "▲");
    await outside.update(2, { qty: 0 });
    await screen.page.waitForSelector('.row.moved-down[data-pk="2"][aria-rowindex="5"]');
    // Once the marks are gone the elements stand in the order a screen reader should read.
    const inDocument = () =>
      screen.page.evaluate(() =>
        [...document.querySelectorAll(".row")].map((row) => row.dataset.pk),
      );
    await screen.until(inDocument, ["3", "4", "1", "2"]);
  },
);

screenTest("a cell is edited in place, digit for digit", {}, async (screen, outside) => {
  await screen.cell(1, "name").dblclick();
  await screen.page.keyboard.type("anchor, large");
  await screen.press("Enter");
  await screen.showsColumn("name", ["anchor, large", "buoy", "cleat", "davit"]);
  await screen.cell(3, "big").click();
  await screen.press("e");
  await screen.page.keyboard.type("9223372036854775807");
  await screen.press("Enter");
  await screen.showsColumn("big", ["1", "9007199254740993", "9223372036854775807", "-4"]);
  await screen.cell(2, "note").dblclick();
  await screen.press("Alt+n");
  await screen.showsColumn("note", ["null", "null", "null", "left"]);
  const [first, second, third] = await outside.rows();
  assert.deepEqual(
    [first.name, second.note, String(third.big)],
    ["anchor, large", null, "9223372036854775807"],
  );
  await screen.page.waitForFunction(() =>
    document.getElementById("own-write").textContent.endsWith("s"),
  );
});

screenTest("Escape and an untouched field write nothing", {}, async (screen) => {
  await screen.cell(3, "note").dblclick();
  await screen.press("Enter");
  await screen.cell(1, "name").dblclick();
  await screen.page.keyboard.type("never");
  await screen.press("Escape");
  assert.equal(await screen.page.locator(".editor").count(), 0);
  const sent = await screen.watched("sent");
  assert.deepEqual(
    sent.filter(({ method }) => method === "UPDATE_SINGLE"),
    [],
  );
});

screenTest(
  "the field follows its row, and outlives it",
  { hash: "#stock?order=qty:desc" },
  async (screen, outside) => {
    await screen.showsColumn("id", ["2", "4", "1", "3"]);
    await screen.cell(1, "name").dblclick();
    await screen.page.keyboard.type("half typ");
    const topOfEditor = () =>
      screen.page.evaluate(
        () => new DOMMatrix(getComputedStyle(document.querySelector(".editor")).transform).f,
      );
    const before = await topOfEditor();
    await outside.update(1, { qty: 50 });
    await screen.showsColumn("id", ["1", "2", "4", "3"]);
    await screen.until(async () => (await topOfEditor()) < before, true);
    await outside.remove(1);
    await screen.showsColumn("id", ["2", "4", "3"]);
    await screen.page.waitForFunction(() =>
      document.querySelector(".editor-note").textContent.includes("left the page"),
    );
    assert.equal(await screen.page.locator(".editor input").inputValue(), "half typ");
  },
);

screenTest(
  "a row is inserted by the form, and becomes the active one",
  {},
  async (screen, outside) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    await screen.press("n");
    const form = screen.page.getByRole("dialog");
    await form.getByLabel("id", { exact: true }).fill("7");
    await form.getByLabel("name", { exact: true }).fill("grapnel");
    await form.getByLabel("price", { exact: true }).fill("12345678.25");
    await form.getByLabel("note is null").click();
    await form.getByRole("button", { name: "Insert" }).click();
    await screen.showsColumn("name", ["anchor", "buoy", "cleat", "davit", "grapnel"]);
    await screen.page.waitForSelector('.row.active[data-pk="7"]');
    const rows = await outside.rows();
    assert.deepEqual(String(rows[4].price), "12345678.25");
    const sent = (await screen.watched("sent")).find(({ method }) => method === "ADD_SINGLE");
    assert.deepEqual(Object.keys(sent.payload.row), ["id", "name", "price", "note"]);
  },
);

screenTest(
  "a row is deleted after a question, with the keyboard alone",
  {},
  async (screen, outside) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    await screen.press("j", "j", "Delete");
    await screen.page.waitForSelector("#delete-dialog[open]");
    await screen.press("Escape");
    assert.deepEqual(await screen.column("id"), ["1", "2", "3", "4"]);
    await screen.press("Delete", "Enter");
    await screen.showsColumn("id", ["1", "3", "4"]);
    assert.deepEqual(
      (await outside.rows()).map(({ id }) => String(id)),
      ["1", "3", "4"],
    );
    await screen.page.waitForSelector('.row.active[data-pk="3"]');
  },
);

screenTest(
  "after a lost connection the page resumes from its position, complete",
  {},
  async (screen, outside) => {
    await screen.showsColumn("qty", ["5", "9", "1", "7"]);
    await outside.update(1, { qty: 6 });
    await screen.showsColumn("qty", ["6", "9", "1", "7"]);
    const last = (await screen.watched("received")).filter(({ op }) => op === "diff").at(-1);
    await screen.page.evaluate(() => {
      window.watched.isCut = true;
      window.watched.sockets.at(-1).close();
    });
    await screen.page.waitForSelector('#connection[data-state="waiting"]');
    await outside.update(2, { qty: 20 });
    await outside.remove(3);
    await outside.add({ id: 9, name: "ibis", qty: 4 });
    assert.deepEqual(await screen.column("qty"), ["6", "9", "1", "7"]);
    const before = (await screen.watched("received")).length;
    await screen.page.evaluate(() => (window.watched.isCut = false));
    await screen.showsColumn("qty", ["6", "20", "7", "4"]);
    const subscribe = (await screen.watched("sent")).filter(({ op }) => op === "subscribe").at(-1);
    assert.equal(subscribe.resume, last.cursor.position);
    const ops = (await screen.watched("received")).slice(before).map(({ op }) => op);
    assert.ok(ops.includes("resumed"), String(ops));
    assert.ok(!ops.includes("snapshot"), String(ops));
  },
);

screenTest(
  "after a killed server the page comes back, says that it is a fresh one, and is live",
  {},
  async (screen, _, tenant) => {
    await screen.showsColumn("qty", ["5", "9", "1", "7"]);
    await server.restart();
    const outside = await Outside.connect(server.url, tenant);
    await outside.update(1, { qty: 6 });
    await screen.page.waitForSelector("text=A fresh page");
    await screen.showsColumn("qty", ["6", "9", "1", "7"]);
    await outside.update(2, { qty: 10 });
    await screen.showsColumn("qty", ["6", "10", "1", "7"]);
    await screen.until(() => screen.text("#connection-text"), "Live");
    outside.close();
    // The browser says for itself that it could not connect; that is what was wanted.
    screen.trouble = screen.trouble.filter((it) => !/WebSocket connection to .* failed/.test(it));
  },
);

screenTest(
  "a frame that does not fit ends in a fresh page, not in wrong rows",
  {},
  async (screen) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    await screen.page.evaluate(() => {
      const { hashId } = window.watched.sent.findLast(({ op }) => op === "subscribe");
      const change = { kind: "removed", pk: "77", from: 0 };
      const frame = {
        op: "diff",
        hashId,
        cursor: { lsn: "1", position: "1-1" },
        changes: [change],
      };
      window.watched.sockets
        .at(-1)
        .dispatchEvent(new MessageEvent("message", { data: JSON.stringify(frame) }));
    });
    await screen.page.waitForSelector("#banner:not([hidden])");
    assert.equal(await screen.text("#banner-code"), "bad_frame");
    await screen.page.waitForSelector("#banner", { state: "hidden" });
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
  },
);

screenTest(
  "a refused query shows the server's sentence and code",
  { hash: "#stock?where=due:equals:someday" },
  async (screen) => {
    await screen.page.waitForSelector("#banner:not([hidden])");
    assert.match(await screen.text("#banner-text"), /due/);
    assert.match(await screen.text("#banner-code"), /^[a-z_]+$/);
    assert.deepEqual(await screen.column("id"), []);
    await screen.page.getByRole("button", { name: /^Remove filter/ }).click();
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    await screen.page.waitForSelector("#banner", { state: "hidden" });
  },
);

screenTest(
  "a refused write shows the server's sentence; a value that cannot fit is told at once",
  {},
  async (screen) => {
    await screen.cell(1, "qty").dblclick();
    await screen.page.keyboard.type("many");
    await screen.press("Enter");
    assert.match(await screen.text(".editor-note"), /qty takes a whole number/);
    await screen.press("Escape");
    await screen.cell(1, "id").dblclick();
    await screen.page.keyboard.type("2");
    await screen.press("Enter");
    const notice = screen.page.getByRole("alert").filter({ hasText: "(" });
    await notice.waitFor();
    assert.match(await notice.innerText(), /\(constraint\)\./);
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
  },
);

const HOSTILE = [
  "<img src=x onerror='window.pwned=1'>",
  "</div><script>window.pwned=1</script>",
  "{{constructor.constructor('window.pwned=1')()}}",
  "\u202eright to left\u0000\u0007",
];
screenTest(
  "hostile strings are text: in cells, chips, titles, dialogs and frames",
  { rows: [] },
  async (screen, outside) => {
    const texts = isReal ? HOSTILE.map((text) => text.replaceAll("\u0000", "")) : HOSTILE;
    for (const [index, name] of texts.entries()) await outside.add({ id: index + 1, name });
    await screen.showsColumn("name", texts);
    await screen.press("f");
    await screen.page.locator(".frame-line").first().click();
    await screen.page.evaluate(
      (hash) => (location.hash = hash),
      `#stock?where=name:equals:${encodeURIComponent(HOSTILE[0])}`,
    );
    await screen.showsColumn("name", [HOSTILE[0]]);
    await screen.press("j", "Delete");
    await screen.page.waitForSelector("#delete-dialog[open]");
    await screen.press("Escape");
    await screen.page.evaluate(
      () => (location.hash = "#%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E"),
    );
    await screen.page.waitForSelector("#blank:not([hidden])");
    assert.match(await screen.text("#blank-title"), /<img src=x/);
    assert.deepEqual(
      await screen.page.evaluate(() => [document.images.length, window.pwned ?? "safe"]),
      [0, "safe"],
    );
  },
);

screenTest(
  "dark follows the system, a choice of one's own is kept",
  { colorScheme: "dark" },
  async (screen) => {
    const brightness = () =>
      screen.page.evaluate(() => {
        const canvas = getComputedStyle(document.querySelector("main")).backgroundColor;
        return Math.max(...canvas.match(/\d+/g).map(Number)) < 80 ? "dark" : "light";
      });
    await screen.until(brightness, "dark");
    await screen.press("t");
    await screen.until(brightness, "light");
    await screen.page.reload();
    await screen.until(brightness, "light");
    await screen.page.getByRole("button", { name: "Light or dark" }).click();
    await screen.until(brightness, "dark");
    await screen.page.emulateMedia({ colorScheme: "light" });
    await screen.until(brightness, "light");
  },
);

screenTest("the keyboard reaches everything", {}, async (screen) => {
  await screen.showsColumn("id", ["1", "2", "3", "4"]);
  const active = () =>
    screen.page.evaluate(() => document.querySelector(".row.active")?.dataset.pk ?? "none");
  await screen.press("j");
  await screen.until(active, "1");
  await screen.press("ArrowDown", "ArrowDown", "k", "j", "End");
  await screen.until(active, "4");
  await screen.press("Home", "l", "l");
  await screen.until(active, "1");
  const named = await screen.page.evaluate(() => {
    const grid = document.activeElement;
    return [
      grid.getAttribute("role"),
      document.getElementById(grid.getAttribute("aria-activedescendant")).textContent,
    ];
  });
  assert.deepEqual(named, ["grid", "5"]);
  await screen.press("e");
  assert.equal(await screen.page.locator(".editor input").inputValue(), "5");
  await screen.press("Tab");
  await screen.press("Enter");
  assert.equal(await screen.page.locator(".editor input").inputValue(), "10.5");
  await screen.press("Escape", "?");
  await screen.page.waitForSelector("#help-dialog[open]");
  await screen.press("Escape", "f");
  await screen.page.waitForSelector("#frames:not([hidden])");
  await screen.press("f", "s");
  await screen.showsColumn("price", ["2.25", "7.5", "10.5", "99.99"]);
});

screenTest("frames come both ways, pause, filter and open", {}, async (screen, outside) => {
  await screen.showsColumn("id", ["1", "2", "3", "4"]);
  await screen.press("f");
  const ops = () =>
    screen.page.evaluate(() =>
      [...document.querySelectorAll(".frame")].map((frame) => frame.dataset.op),
    );
  await screen.until(async () => (await ops()).includes("snapshot"), true);
  assert.ok((await ops()).includes("subscribe"));
  assert.ok(!(await ops()).includes("ping"));
  await screen.page.getByLabel("Which frames").selectOption("snapshot");
  await screen.until(ops, ["snapshot"]);
  await screen.page.locator(".frame-line").click();
  const json = JSON.parse(await screen.text(".frame-json"));
  assert.deepEqual([json.op, json.rows.length], ["snapshot", 4]);
  await screen.page.getByLabel("Which frames").selectOption("all");
  await screen.page.getByRole("button", { name: "Pause" }).click();
  const paused = await ops();
  await outside.update(1, { qty: 77 });
  await screen.showsColumn("qty", ["77", "9", "1", "7"]);
  assert.deepEqual(await ops(), paused);
  await screen.page.getByRole("button", { name: "Resume" }).click();
  await screen.page.getByLabel("Which frames").selectOption("diff");
  await screen.until(() => screen.page.locator(".frame-summary").allInnerTexts(), ["~1"]);
});

test("without a table the page is friendly, and the first table appears by itself", async () => {
  const tenant = freshTenant();
  const outside = await Outside.connect(server.url, tenant);
  const screen = await Screen.open(browser, server.url, { tenant });
  await screen.until(() => screen.text("#blank-title"), "There is no table yet");
  await outside.createStock();
  await screen.until(() => screen.text("#blank-title"), "No rows");
  await outside.add({ id: 1, name: "first" });
  await screen.showsColumn("name", ["first"]);
  await screen.page.waitForSelector("#blank", { state: "hidden" });
  await screen.close();
  outside.close();
});

screenTest(
  "a burst of writes ends in exactly the server's page",
  { hash: "#stock?order=qty:desc&limit=200" },
  async (screen, outside) => {
    await screen.showsColumn("id", ["2", "4", "1", "3"]);
    await inTurns(200, (index) =>
      outside.add({ id: index + 10, name: `n${index}`, qty: (index * 37) % 101 }),
    );
    await inTurns(200, (index) =>
      index % 3 === 0
        ? outside.remove(index + 10)
        : outside.update(index + 10, { qty: index % 17 }),
    );
    const rows = (await outside.rows()).sort(
      (a, b) => b.qty - a.qty || Number(a.id) - Number(b.id),
    );
    await screen.showsColumn(
      "id",
      rows.map(({ id }) => String(id)),
    );
    await screen.showsColumn(
      "qty",
      rows.map(({ qty }) => String(qty)),
    );
  },
);

screenTest(
  "one may connect as another tenant, and by a token",
  {},
  async (screen, outside, tenant) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    const other = freshTenant();
    await screen.page.locator("#connection").click();
    await screen.page.getByLabel("Tenant").fill(other);
    await screen.page.getByLabel("User").fill("ada");
    await screen.press("Enter");
    await screen.until(() => screen.text("#blank-title"), "There is no table yet");
    assert.deepEqual(await screen.column("id"), []);
    assert.match(screen.page.url(), new RegExp(`tenant=${other}&user=ada`));
    await screen.page.locator("#connection").click();
    await screen.page.getByLabel("Tenant").fill(tenant);
    await screen.page.getByLabel("Token").fill("a b");
    await screen.press("Enter");
    assert.match(await screen.text(".form-problem"), /letters, digits/);
    await screen.page.getByLabel("Token").fill("abc.def-ghi_jkl");
    await screen.press("Enter");
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    const socket = await screen.page.evaluate(() => {
      const { url, protocol, offered } = window.watched.sockets.at(-1);
      return { url, protocol, offered };
    });
    assert.deepEqual(socket.offered, ["tidegate", "bearer.abc.def-ghi_jkl"]);
    assert.equal(socket.protocol, "tidegate");
    assert.ok(!socket.url.includes("abc.def") && !screen.page.url().includes("abc.def"));
  },
);

screenTest(
  "rows under a key of several columns are live, edited and deleted",
  {},
  async (screen, outside) => {
    await outside.createTable("shelves", "shelf text key", "place integer key", "item text");
    const add = (row) => outside.rpc("ADD_SINGLE", "shelves", { row });
    await add({ shelf: "a", place: 1, item: "rope" });
    await screen.page.getByRole("button", { name: "List the tables again" }).click();
    await screen.page.getByRole("button", { name: "shelves" }).click();
    await screen.showsColumn("item", ["rope"]);
    await add({ shelf: "a", place: 2, item: "tar" });
    await screen.showsColumn("item", ["rope", "tar"]);
    await screen.press("j", "l", "l", "e");
    await screen.page.keyboard.type("twine");
    await screen.press("Enter");
    await screen.showsColumn("item", ["twine", "tar"]);
    await screen.press("n");
    const form = screen.page.getByRole("dialog");
    await form.getByLabel("shelf", { exact: true }).fill('b "2"');
    await form.getByLabel("place", { exact: true }).fill("1");
    await form.getByLabel("item", { exact: true }).fill("oakum");
    await screen.press("Enter");
    await screen.showsColumn("item", ["twine", "tar", "oakum"]);
    await screen.page.locator(".row.active", { hasText: "oakum" }).waitFor();
    await screen.press("Delete", "Enter");
    await screen.showsColumn("item", ["twine", "tar"]);
  },
);

screenTest(
  "a table that cannot be live is shown as it is, and says why",
  {},
  async (screen, outside) => {
    await outside.createTable("journal", "line text");
    await outside.rpc("ADD_SINGLE", "journal", { row: { line: "it began" } });
    await screen.page.getByRole("button", { name: "List the tables again" }).click();
    await screen.page.getByRole("button", { name: "journal" }).click();
    await screen.showsColumn("line", ["it began"]);
    assert.match(await screen.text("#table-note"), /primary key/);
    assert.equal(await screen.text("#connection-text"), "Connected");
    assert.ok(await screen.page.getByRole("button", { name: "Insert row" }).isDisabled());
  },
);

screenTest(
  "a narrow screen needs no sideways scroll and keeps every control",
  { viewport: { width: 380, height: 700 } },
  async (screen) => {
    await screen.showsColumn("id", ["1", "2", "3", "4"]);
    const [page, window] = await screen.page.evaluate(() => [
      document.documentElement.scrollWidth,
      innerWidth,
    ]);
    assert.ok(page <= window, `${page} > ${window}`);
    assert.equal(await screen.page.getByLabel("Table", { exact: true }).inputValue(), "stock");
    assert.ok(await screen.page.locator("#rate").isVisible());
    const right = await screen.page
      .locator("#rate")
      .evaluate((it) => it.getBoundingClientRect().right);
    assert.ok(right <= window, `the rate ends at ${right}`);
    await screen.press("f");
    await screen.page.waitForSelector("#frames:not([hidden])");
  },
);

screenTest(
  "reduced motion marks changes without moving anything",
  { reducedMotion: "reduce", hash: "#stock?order=qty:desc" },
  async (screen, outside) => {
    await screen.showsColumn("id", ["2", "4", "1", "3"]);
    await outside.update(3, { qty: 50 });
    await screen.page.waitForSelector('.row.moved-up[data-pk="3"]');
    const style = await screen.page.evaluate(
      () => getComputedStyle(document.querySelector(".row.moved")).transitionDuration,
    );
    assert.ok(Number.parseFloat(style) <= 0.001, style);
  },
);
