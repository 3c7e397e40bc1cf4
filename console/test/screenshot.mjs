/**
 * Makes docs/console.png: the page over a moving demo, 1280 × 800, with changed cells and a moved
 * row in sight. `node screenshot.mjs [OUT] [light|dark]`; TIDEGATE_BIN picks the real server.
 */

import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { Screen, launch, startServer } from "./harness.mjs";

const OUT = process.argv[2] ?? fileURLToPath(new URL("../../docs/console.png", import.meta.url));
const THEME = process.argv[3] === "dark" ? "dark" : "light";
/** A README should open fast. */
const MAX_BYTES = 300_000;

/** Where a little more happens than in key order. */
const HASH = process.env.CONSOLE_HASH ?? "#orders?where=state:notEquals:returned&order=total:desc";

const [server, browser] = await Promise.all([startServer(), launch()]);
try {
  const screen = await Screen.open(browser, server.url, {
    tenant: "demo",
    hash: HASH,
    colorScheme: THEME,
  });
  const { page } = screen;
  await page.waitForSelector(".row");
  await screen.press("f", "j", "j", "l");
  // The picture should show what the page is about, so wait for a moment that has it.
  const sight = ".row:not(.leaving)";
  await page.waitForFunction(
    (rows) => {
      const seen = [...document.querySelectorAll(rows)].filter((row) => {
        const { top, bottom } = row.getBoundingClientRect();
        return top > 190 && bottom < 750;
      });
      const frames = document.querySelectorAll(".frame").length;
      const has = (selector) =>
        seen.some((row) => row.matches(selector) || row.querySelector(selector));
      return frames > 24 && has(".moved") && has(".changed");
    },
    sight,
    { timeout: 120_000 },
  );
  // Rows on their way overlap; a still picture waits until they have arrived.
  await page.waitForFunction(() => {
    const moving = document.getAnimations().filter((it) => it instanceof CSSTransition);
    return moving.length === 0 && document.querySelector(".row.moved .changed") !== null;
  });
  await page.screenshot({ path: OUT });
  const { size } = await stat(OUT);
  if (size > MAX_BYTES) throw new Error(`${OUT} has ${size} bytes, more than ${MAX_BYTES}`);
  console.log(`${OUT}: ${size} bytes`);
} finally {
  await browser.close();
  await server.stop();
}
