/**
 * Makes docs/console.png, the picture in the README: the open tickets of the demo, 1280 × 800, just
 * after somebody else opened one and this page changed another. `node screenshot.mjs [light|dark]
 * [OUT]`; TIDEGATE_BIN picks the real server.
 */

import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Screen, isReal, launch, startServer } from "./harness.mjs";

const THEME = process.argv[2] === "dark" ? "dark" : "light";
const NAME = THEME === "dark" ? "console-dark.png" : "console.png";
const OUT = process.argv[3] ?? fileURLToPath(new URL(`../../docs/${NAME}`, import.meta.url));
/** A README should open fast. */
const MAX_BYTES = 300_000;
const HASH = isReal ? "#tickets?where=status:equals:open&order=id:desc&limit=20" : "#orders";
/** Frames that fill the pane. */
const FRAMES = 24;
/** The row that this page changes, and the cell, counted from the first. */
const [DOWN, RIGHT] = [5, 3];
const ATTEMPTS = 20;

/** Whether the rows in sight show what the page is about, in letters that every machine has. */
function isTelling(wanted) {
  const rows = [...document.querySelectorAll(".row:not(.leaving)")].filter((row) => {
    const { top, bottom } = row.getBoundingClientRect();
    return top > 180 && bottom < 770;
  });
  const isReadable = rows.every((row) => !/[\u3000-\u9fff]/.test(row.textContent));
  const moving = document.getAnimations().some((it) => it instanceof CSSTransition);
  const has = (selector) =>
    rows.some((row) => row.matches(selector) || row.querySelector(selector));
  return isReadable && !moving && wanted.every(has);
}

const [server, browser] = await Promise.all([
  startServer(["--demo", "--demo-orders", "3000"]),
  launch(),
]);
try {
  const screen = await Screen.open(browser, server.url, {
    tenant: "demo",
    hash: HASH,
    colorScheme: THEME,
  });
  const { page } = screen;
  await page.waitForSelector(".row");
  await screen.press("f");
  const waitFor = (wanted, timeout) => page.waitForFunction(isTelling, wanted, { timeout });
  await page.waitForFunction(
    (least) => document.querySelectorAll(".frame").length >= least,
    FRAMES,
    { timeout: 120_000 },
  );
  for (let attempt = 1; ; attempt += 1) {
    await waitFor([".added"], 120_000);
    await screen.press(
      "Home",
      ...Array(DOWN).fill("j"),
      ...Array(attempt === 1 ? RIGHT : 0).fill("l"),
    );
    await screen.press("e");
    await page.keyboard.type(String((attempt % 4) + 1));
    await screen.press("Enter");
    try {
      await waitFor([".added", ".changed.active-cell"], 1500);
      break;
    } catch (error) {
      if (attempt === ATTEMPTS) throw error;
    }
  }
  await page.screenshot({ path: OUT });
  const { size } = await stat(OUT);
  if (size > MAX_BYTES) throw new Error(`${OUT} has ${size} bytes, more than ${MAX_BYTES}`);
  console.log(`${OUT}: ${size} bytes`);
} finally {
  await browser.close();
  await server.stop();
}
