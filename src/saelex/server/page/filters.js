// Filters on what documents say of themselves: a choice of values, a range of numbers, or a text.

import { h, icon, stranger } from "./dom.js";
import { t } from "./i18n.js";

/** @typedef {import("./api.js").Field} Field */
/** @typedef {Record<string, any>} Where */

const MOST_NUMBERS = 12;

/**
 * @param {Field[]} fields
 * @param {Where} where
 * @param {string} id unlike any other form's
 * @param {(where: Where) => void} change
 * @returns {HTMLElement[]}
 */
export function filterFields(fields, where, id, change) {
  return fields.filter(isAsked).map((field, i) => {
    const set = (/** @type {any} */ value) => change(withField(where, field.name, value));
    const legend = h("legend", {}, stranger(field.name));
    const own = where[field.name];
    if (isChosen(field)) return h("fieldset", {}, legend, choices(field.values ?? [], own, set));
    if (field.kinds.includes("number")) return h("fieldset", {}, legend, range(own, `${id}-${i}`, set));
    return h("fieldset", {}, legend, exactText(own, `${id}-${i}`, set));
  });
}

/** An address is no property to choose by, nor is what holds objects alone. @param {Field} field */
export function isAsked(field) {
  return field.name !== "url" && field.kinds.some((kind) => kind !== "null");
}

/** Whether its values are few enough to tick; more numbers than these are a range. @param {Field} field */
function isChosen({ kinds, values }) {
  return !!values?.length && (!kinds.includes("number") || values.length <= MOST_NUMBERS);
}

/**
 * The filter with another condition on a field; null takes the field out.
 * @param {Where} where
 * @param {string} name
 * @param {any} value
 */
function withField(where, name, value) {
  const others = Object.entries(where).filter(([field]) => field !== name);
  return Object.fromEntries(value === null ? others : [...others, [name, value]]);
}

/**
 * @param {any[]} values
 * @param {any} own
 * @param {(value: any) => void} set
 */
function choices(values, own, set) {
  const chosen = own === undefined || isComparison(own) ? [] : Array.isArray(own) ? own : [own];
  const box = (/** @type {any} */ value) => {
    const change = (/** @type {Event} */ event) => {
      const on = /** @type {HTMLInputElement} */ (event.target).checked;
      const next = on ? [...chosen, value] : chosen.filter((other) => other !== value);
      set(next.length ? (next.length === 1 ? next[0] : next) : null);
    };
    return h("label", { class: "choice" }, h("input", { type: "checkbox", checked: chosen.includes(value), on: { change } }), stranger(String(value)));
  };
  return h("div", { class: "choices" }, ...values.map(box));
}

/**
 * @param {any} own
 * @param {string} id
 * @param {(value: any) => void} set
 */
function range(own, id, set) {
  const bounds = isComparison(own) ? own : typeof own === "number" ? { ">=": own, "<=": own } : {};
  const input = (/** @type {string} */ sign, /** @type {string} */ label) => {
    const change = (/** @type {Event} */ event) => {
      const text = /** @type {HTMLInputElement} */ (event.target).value;
      const { [sign]: _, ...others } = bounds;
      const next = text === "" || !Number.isFinite(Number(text)) ? others : { ...others, [sign]: Number(text) };
      set(Object.keys(next).length ? next : null);
    };
    return h("label", { for: `${id}${sign}` }, label, h("input", { id: `${id}${sign}`, type: "number", step: "any", value: bounds[sign] ?? "", on: { change } }));
  };
  return h("div", { class: "range" }, input(">=", t("from")), input("<=", t("to")));
}

/**
 * @param {any} own
 * @param {string} id
 * @param {(value: any) => void} set
 */
function exactText(own, id, set) {
  const change = (/** @type {Event} */ event) => {
    const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
    set(text || null);
  };
  return h("label", { for: id }, t("isExactly"), h("input", { id, type: "text", value: typeof own === "string" ? own : "", on: { change } }));
}

/** @param {any} value */
function isComparison(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

/**
 * What is filtered by, each to be taken out again.
 * @param {Where} where
 * @param {(where: Where) => void} change
 */
export function filterChips(where, change) {
  return Object.entries(where).map(([name, value]) => {
    const text = conditions(name, value).join(", ");
    return h("button", { type: "button", class: "chip", "aria-label": t("removeFilter", { text }), on: { click: () => change(withField(where, name, null)) } }, stranger(text), icon("close"));
  });
}

/**
 * @param {string} name
 * @param {any} value
 */
function conditions(name, value) {
  if (!isComparison(value)) return [`${name}: ${[value].flat().join(" / ")}`];
  const signs = /** @type {Record<string, string>} */ ({ ">=": "≥", "<=": "≤", "!=": "≠" });
  return Object.entries(value).map(([sign, bound]) => `${name} ${signs[sign] ?? sign} ${[bound].flat().join(" / ")}`);
}
