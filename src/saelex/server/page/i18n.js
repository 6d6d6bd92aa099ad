// The page's own words, in the reader's language.

import { keep, kept } from "./storage.js";
import { de } from "./text/de.js";
import { en } from "./text/en.js";
import { es } from "./text/es.js";
import { zh } from "./text/zh.js";

/** @typedef {string | {one?: string, other: string}} Phrase */
/** @type {Record<string, Record<string, Phrase>>} */
const TEXTS = { en, de, es, zh };
const KEPT = "saelex-lang";

/** Each in its own words, for the switch. */
export const LANGUAGES = { en: "English", de: "Deutsch", es: "Español", zh: "中文" };

let current = "en";

/**
 * Take a language: the one asked for, else the one kept, else the first of the browser's that there is.
 * @param {string} asked
 * @returns {boolean} whether it is another one than before
 */
export function takeLanguage(asked) {
  const before = current;
  const wanted = [asked, kept(KEPT), ...navigator.languages].map((code) => code.slice(0, 2).toLowerCase());
  current = wanted.find((code) => code in TEXTS) ?? "en";
  document.documentElement.lang = current;
  return current !== before;
}

/** @param {string} code */
export function keepLanguage(code) {
  keep(KEPT, code);
}

export function language() {
  return current;
}

/**
 * A phrase with what belongs in its {places}; `n` chooses between one and more.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const phrase = TEXTS[current][key] ?? TEXTS.en[key];
  if (phrase === undefined) throw new Error(`no phrase ${key}`);
  const text = typeof phrase === "string" ? phrase : (phrase[chosen(Number(values.n))] ?? phrase.other);
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? count(value) : String(value ?? "");
  });
}

/** @param {number} n */
function chosen(n) {
  return new Intl.PluralRules(current).select(n) === "one" ? "one" : "other";
}

/** Every element of the page's own frame that names its phrase. @param {ParentNode} root */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-t]")) element.textContent = t(element.getAttribute("data-t") ?? "");
  for (const name of ["aria-label", "placeholder", "title"]) {
    for (const element of root.querySelectorAll(`[data-t-${name}]`)) {
      element.setAttribute(name, t(element.getAttribute(`data-t-${name}`) ?? ""));
    }
  }
}

/** @type {Map<string, Intl.NumberFormat>} made once: making one takes longer than using it a hundred times */
const formats = new Map();

/**
 * @param {number} value
 * @param {Intl.NumberFormatOptions} [options]
 */
function formatted(value, options = {}) {
  const key = current + JSON.stringify(options);
  const format = formats.get(key) ?? new Intl.NumberFormat(current, options);
  formats.set(key, format);
  return format.format(value);
}

/** @param {number} value */
export function count(value) {
  return formatted(value);
}

/** Hundredths as a number with two digits. @param {number} value */
export function fixed(value) {
  return formatted(value / 100, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  const digits = share > 0 && share < 0.1 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 };
  return formatted(share, { style: "percent", ...digits });
}

/** A factor or weight, as short as it can be. @param {number} value */
export function short(value) {
  return formatted(value, { maximumSignificantDigits: 3 });
}
