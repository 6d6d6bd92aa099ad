// What stands in place of hits: nothing asked yet, nothing found, something wrong.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { isSteered } from "./state.js";

/**
 * What went wrong, and a way to try again.
 * @param {{title: string, detail: string}} error
 * @param {() => void} again
 */
export function failure({ title, detail }, again) {
  const button = h("button", { type: "button", class: "button", on: { click: again } }, t("again"));
  return [h("h3", {}, title), h("p", { dir: "auto" }, detail), button];
}

/**
 * Why there may be no hits.
 * @param {import("./state.js").Settings} settings
 */
export function nothingFound(settings) {
  const filtered = Object.keys(settings.where).length > 0;
  const steered = isSteered(settings);
  const hints = [filtered && t("noHitsFiltered"), steered && t("noHitsSteered"), !filtered && !steered && t("noHitsPlain")];
  return [h("h3", {}, t("noHits")), h("p", {}, hints.filter(Boolean).join(" "))];
}

/**
 * What this is, before anything is asked.
 * @param {import("./api.js").IndexFacts | undefined} facts
 */
export function landing(facts) {
  const about = facts && { index: facts.name, documents: facts.documents, latents: facts.latents, encoder: facts.encoder };
  return [
    h("p", { class: "lead" }, t("landing")),
    h("p", {}, t("landingHow")),
    ...(about ? [h("p", { class: "hint" }, t("landingFacts", about))] : []),
  ];
}
