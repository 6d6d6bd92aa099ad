// Dark and light: the system's, unless somebody has chosen.

import { keep, kept } from "./storage.js";

const KEPT = "saelex-theme";
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** @param {string} asked light, dark; "" is what was kept, else the system's */
export function takeTheme(asked) {
  const theme = asked || kept(KEPT);
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

/** The other one of the two; kept for the next visit. */
export function toggledTheme() {
  const now = document.documentElement.dataset.theme ?? (DARK.matches ? "dark" : "light");
  const next = now === "dark" ? "light" : "dark";
  keep(KEPT, next);
  return next;
}
