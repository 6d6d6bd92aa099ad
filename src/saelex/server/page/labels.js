// How a concept is written: its badge, its label, and an exact word as a word.

import { h, stranger } from "./dom.js";
import { t } from "./i18n.js";

const WORD = "word:";

/**
 * A label as it is read: an exact word in quotation marks, without the prefix that names it.
 * @param {string} label
 */
export function readable(label) {
  return label.startsWith(WORD) ? `“${label.slice(WORD.length)}”` : label;
}

/**
 * The concept's number in its colour; a small dot for one that has none.
 * @param {number} slot
 */
export function badge(slot) {
  return h("span", { class: "badge", "data-slot": slot, "aria-hidden": "true" }, slot ? String(slot) : "");
}

/**
 * A label that opens its concept's page; an exact word has none.
 * @param {string} label
 * @param {number | null} latent
 * @param {number} slot
 * @param {(latent: number) => void} open
 */
export function labelButton(label, latent, slot, open) {
  if (label.startsWith(WORD) || latent === null) {
    return h("span", { class: "label", "data-slot": slot, title: label.startsWith(WORD) ? t("exactWord") : null }, stranger(readable(label)));
  }
  return h(
    "button",
    { type: "button", class: "label link", "data-slot": slot, title: `#${latent}`, on: { click: () => open(latent) } },
    stranger(readable(label)),
  );
}
