/**
 * The one way this page makes elements. Text only ever enters as text nodes, so nothing a server
 * sends can become markup; attributes that run code or style are not offered at all.
 */

/**
 * @typedef {Node | string | null} Child
 * @typedef {{ [attribute: string]: string | number | boolean | undefined
 *   | ((event: any) => void) }} Attributes
 */

/**
 * Makes an element. A function under `click`, `input`, … becomes a listener; `true` sets an empty
 * attribute, `false` and `undefined` leave it out.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Finds an element that the page's own markup promises.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function need(id, type) {
  const element = document.getElementById(id);
  if (!(element instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return element;
}

/**
 * Lays a popover under its anchor, inside the window.
 *
 * @param {HTMLElement} popover
 * @param {Element} anchor
 */
export function showUnder(popover, anchor) {
  popover.showPopover();
  const { left, bottom, top } = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popover;
  const gap = 6;
  const x = Math.max(8, Math.min(left, window.innerWidth - width - 8));
  const isRoomBelow = bottom + gap + height < window.innerHeight - 8;
  const y = isRoomBelow ? bottom + gap : Math.max(8, top - gap - height);
  popover.style.left = `${x}px`;
  popover.style.top = `${y}px`;
}
