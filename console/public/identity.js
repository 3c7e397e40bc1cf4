/**
 * Who this page connects as. Tenant and user stand in the address bar, so a link keeps them; a
 * token is kept in memory only, and leaves the page in the one header a browser lets us set.
 */

import { h, need, showUnder } from "./dom.js";

/** @typedef {{ tenant: string, user: string, token: string }} Identity */

/** The characters a WebSocket subprotocol may have; a JWT has no others. */
const TOKEN = /^[A-Za-z0-9._~+-]*$/;

/** @returns {Identity} */
export function identityFromLocation() {
  const params = new URLSearchParams(location.search);
  return { tenant: params.get("tenant") ?? "", user: params.get("user") ?? "", token: "" };
}

/** @param {Identity} identity */
export function keepInLocation({ tenant, user }) {
  const search = searchOf(tenant, user);
  history.replaceState(null, "", `${location.pathname}${search}${location.hash}`);
}

/** @param {Identity} identity */
export function addressOf({ tenant, user, token }) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  // A server that picks no subprotocol fails a socket that offers some, so offer only with a token.
  const protocols = token === "" ? [] : ["tidegate", `bearer.${token}`];
  return { url: `${scheme}//${location.host}/${searchOf(tenant, user)}`, protocols };
}

/**
 * @param {string} tenant
 * @param {string} user
 */
function searchOf(tenant, user) {
  const params = new URLSearchParams();
  if (tenant !== "") params.set("tenant", tenant);
  if (user !== "") params.set("user", user);
  const text = params.toString();
  return text === "" ? "" : `?${text}`;
}

/** @param {Identity} identity */
export function nameOf({ tenant, user, token }) {
  if (token !== "") return "by token";
  return `${tenant || "demo"} · ${user || "anonymous"}`;
}

/**
 * The popover behind the connection pill.
 *
 * @param {Identity} identity
 * @param {(identity: Identity) => void} onConnect
 * @param {() => void} onInterrupt
 */
export function showIdentityForm(identity, onConnect, onInterrupt) {
  const popover = need("identity-popover", HTMLElement);
  const tenant = field("Tenant", identity.tenant, "demo");
  const user = field("User", identity.user, "anonymous");
  const token = field("Token", identity.token, "none");
  token.type = "password";
  const problem = h("p", { class: "form-problem", role: "alert" });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (!TOKEN.test(token.value.trim())) {
      problem.textContent = "A token has letters, digits and . _ ~ + - only.";
      return;
    }
    popover.hidePopover();
    onConnect({ tenant: tenant.value.trim(), user: user.value.trim(), token: token.value.trim() });
  };
  const interrupt = () => {
    popover.hidePopover();
    onInterrupt();
  };
  const drop = {
    type: "button",
    title: "Close the socket, and watch the page resume",
    click: interrupt,
  };
  popover.replaceChildren(
    h(
      "form",
      { class: "query-form", "aria-label": "Connect as", submit },
      ...[tenant, user, token].map((input) =>
        h(
          "label",
          { class: "stacked" },
          h("span", {}, input.getAttribute("aria-label") ?? ""),
          input,
        ),
      ),
      problem,
      h(
        "div",
        { class: "form-end" },
        h("button", drop, "Drop connection"),
        h("button", { type: "submit", class: "primary" }, "Connect"),
      ),
    ),
  );
  showUnder(popover, need("connection", HTMLElement));
  tenant.focus();
}

/**
 * @param {string} label
 * @param {string} value
 * @param {string} placeholder
 */
function field(label, value, placeholder) {
  const input = h("input", {
    "aria-label": label,
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
  });
  input.value = value;
  return input;
}
