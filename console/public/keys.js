/** The keyboard: one table from key to act. Typing somewhere always wins over a shortcut. */

/**
 * @typedef {object} Actions
 * @property {() => void} addFilter
 * @property {() => void} insert
 * @property {() => void} edit
 * @property {() => void} remove
 * @property {() => void} sort
 * @property {() => void} toggleFrames
 * @property {() => void} pauseFrames
 * @property {() => void} toggleTheme
 * @property {() => void} help
 * @property {(step: number) => void} stepTable
 * @property {(rows: number, columns: number) => void} move
 * @property {() => number} rowsPerView
 */

/**
 * @param {HTMLElement} grid
 * @param {Actions} actions
 */
export function installKeys(grid, actions) {
  const anywhere = lettersOf(actions);
  const inGrid = gridKeysOf(actions);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isBusy(event.target)) return;
    const isGridKey = event.target === grid || event.target === document.body;
    const act = anywhere[event.key] ?? (isGridKey ? inGrid[event.key] : undefined);
    if (act === undefined) return;
    event.preventDefault();
    act();
  });
}

/**
 * Whether keys belong to something else: a field, an open dialog, an open popover.
 *
 * @param {EventTarget | null} target
 */
function isBusy(target) {
  if (!(target instanceof Element)) return false;
  if (target.closest("input, textarea, select, [popover]") !== null) return true;
  const dialog = document.querySelector("dialog[open]");
  return dialog !== null && dialog.id !== "help-dialog";
}

/**
 * @param {Actions} actions
 * @returns {Record<string, (() => void) | undefined>}
 */
function lettersOf(actions) {
  return {
    "/": actions.addFilter,
    n: actions.insert,
    e: actions.edit,
    s: actions.sort,
    f: actions.toggleFrames,
    p: actions.pauseFrames,
    t: actions.toggleTheme,
    "?": actions.help,
    "[": () => actions.stepTable(-1),
    "]": () => actions.stepTable(1),
    j: () => actions.move(1, 0),
    k: () => actions.move(-1, 0),
    h: () => actions.move(0, -1),
    l: () => actions.move(0, 1),
    Delete: actions.remove,
  };
}

/**
 * @param {Actions} actions
 * @returns {Record<string, (() => void) | undefined>}
 */
function gridKeysOf(actions) {
  return {
    ArrowDown: () => actions.move(1, 0),
    ArrowUp: () => actions.move(-1, 0),
    ArrowLeft: () => actions.move(0, -1),
    ArrowRight: () => actions.move(0, 1),
    PageDown: () => actions.move(actions.rowsPerView(), 0),
    PageUp: () => actions.move(-actions.rowsPerView(), 0),
    Home: () => actions.move(-Infinity, 0),
    End: () => actions.move(Infinity, 0),
    Enter: actions.edit,
    F2: actions.edit,
  };
}
