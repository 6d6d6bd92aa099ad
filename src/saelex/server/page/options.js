// How a column searches: the way through the index, exact words, the language of labels, the number of hits.

import { h } from "./dom.js";
import { LANGUAGES, t } from "./i18n.js";
import { MODES } from "./state.js";

/** @typedef {import("./state.js").Settings} Settings */

const COUNTS = [5, 10, 20, 50, 100];

/**
 * @param {import("./api.js").IndexFacts | undefined} facts
 * @param {Settings} settings
 * @param {number} k
 * @param {string} id unlike any other form's
 * @param {(change: Partial<Settings>) => void} change
 * @param {(k: number) => void} changeCount
 */
export function optionFields(facts, settings, k, id, change, changeCount) {
  const counts = [...new Set([...COUNTS, k])].sort((a, b) => a - b).map((n) => ({ value: String(n), text: String(n) }));
  const fields = [choice(`${id}-k`, t("hitsWanted"), counts, String(k), (value) => changeCount(Number(value)))];
  if (facts?.pruned || settings.mode !== "exact") {
    const modes = MODES.map((mode) => ({ value: mode, text: t(`mode.${mode}`) }));
    fields.push(choice(`${id}-mode`, t("mode"), modes, settings.mode, (mode) => change({ mode })));
  }
  if (facts?.label_languages.length || settings.labels) {
    const codes = [...new Set([...(facts?.label_languages ?? []), ...(settings.labels ? [settings.labels] : [])])];
    const languages = [{ value: "", text: t("labelsOfQuery") }, ...codes.map((code) => ({ value: code, text: languageName(code) }))];
    fields.push(choice(`${id}-labels`, t("labelsIn"), languages, settings.labels, (labels) => change({ labels })));
  }
  if (facts?.words || !settings.words) {
    const toggled = (/** @type {Event} */ event) => change({ words: /** @type {HTMLInputElement} */ (event.target).checked });
    fields.push(h("label", { class: "choice" }, h("input", { type: "checkbox", checked: settings.words, on: { change: toggled } }), t("exactWords")));
  }
  return fields;
}

/**
 * @param {string} id
 * @param {string} label
 * @param {{value: string, text: string}[]} options
 * @param {string} own
 * @param {(value: string) => void} set
 */
function choice(id, label, options, own, set) {
  const change = (/** @type {Event} */ event) => set(/** @type {HTMLSelectElement} */ (event.target).value);
  return h(
    "label",
    { for: id, class: "field" },
    label,
    h("select", { id, on: { change } }, ...options.map(({ value, text }) => h("option", { value, selected: value === own }, text))),
  );
}

/** @param {string} code */
function languageName(code) {
  if (code in LANGUAGES) return LANGUAGES[/** @type {keyof typeof LANGUAGES} */ (code)];
  try {
    return new Intl.DisplayNames([code], { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}
