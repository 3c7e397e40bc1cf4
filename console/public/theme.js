/* Runs before the first paint, so that a chosen theme does not flash. The system's choice is the
   default and is followed live; only a choice that differs is kept. */
(() => {
  const KEY = "tidegate-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const stored = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null;
    }
  };
  const effective = () => stored() ?? (system.matches ? "dark" : "light");
  const apply = () => root.setAttribute("data-theme", effective());

  system.addEventListener("change", apply);
  document.addEventListener("tidegate:toggle-theme", () => {
    const next = effective() === "dark" ? "light" : "dark";
    try {
      if (next === (system.matches ? "dark" : "light")) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, next);
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
    root.setAttribute("data-theme", next);
  });
  apply();
})();
