/** Short notices in the corner: what was saved, what was refused, why a page came anew. */

import { h, need } from "./dom.js";

/** More than this at once is not read any more; the oldest goes. */
const MAX_NOTICES = 4;
const INFO_MS = 4500;
const TROUBLE_MS = 12_000;

/**
 * @param {string} text
 * @param {"info" | "trouble"} [tone]
 */
export function notify(text, tone = "info") {
  const list = need("notices", HTMLElement);
  const close = { type: "button", class: "notice-close", "aria-label": "Dismiss" };
  const notice = h(
    "div",
    { class: `notice notice-${tone}`, role: tone === "trouble" ? "alert" : "status" },
    h("span", {}, text),
    h("button", { ...close, click: () => notice.remove() }, "×"),
  );
  list.append(notice);
  while (list.children.length > MAX_NOTICES) list.firstElementChild?.remove();
  setTimeout(() => notice.remove(), tone === "trouble" ? TROUBLE_MS : INFO_MS);
}
