// A concept's page: what it is called, where it fires and how often, what stands near it.

import { api } from "./api.js";
import { h, outwardLink, setShare, stranger } from "./dom.js";
import { percent, t } from "./i18n.js";
import { markedWord } from "./marks.js";
import { Sheet } from "./sheet.js";
import { rarity } from "./steering.js";

/** @typedef {"strengthen" | "ban" | "search"} Action */
/** @typedef {{latent: number, label: string, similarity: number}} Near */

const WORDS = 14;

export class ConceptPage {
  /**
   * @param {object} options
   * @param {() => void} options.closed
   * @param {(latent: number) => void} options.open another one
   * @param {(action: Action, latent: number, label: string) => void} options.act
   */
  constructor({ closed, open, act }) {
    this.sheet = new Sheet("concept", closed);
    this.open = open;
    this.act = act;
  }

  /**
   * @param {string} index
   * @param {number} latent
   * @param {string} language of the label
   * @param {boolean} canAct there is a query to steer
   */
  async show(index, latent, language, canAct) {
    await this.sheet.load(
      [index, latent, language, canAct],
      (signal) => api.concept(index, latent, language, signal),
      (view) => this.fill(view, canAct),
    );
  }

  hide() {
    this.sheet.hide();
  }

  /**
   * @param {any} view the server's
   * @param {boolean} canAct
   */
  fill(view, canAct) {
    const { concept, latent, label } = view;
    this.sheet.fill(
      label,
      h("p", { class: "kicker" }, `${t("concept")} #${latent}`),
      h("h2", {}, stranger(label)),
      h("p", { class: "frequency" }, view.density > 0 ? t("firesIn", { share: percent(view.density), rarity: rarity(view.density) }) : t("firesNowhere")),
      canAct ? this.actions(latent, label) : "",
      published(view),
      concept?.evidence?.length ? words(concept.evidence) : "",
      concept?.examples?.length ? examples(concept.examples) : h("p", { class: "hint" }, t("nothingKnown")),
      this.near(t("neighbours"), t("neighboursHint"), view.neighbours),
      this.near(t("firesWith"), t("firesWithHint"), view.fires_with),
    );
  }

  /**
   * @param {number} latent
   * @param {string} label
   */
  actions(latent, label) {
    const button = (/** @type {Action} */ action) =>
      h("button", { type: "button", class: "button", on: { click: () => this.act(action, latent, label) } }, t(`act.${action}`));
    return h("p", { class: "buttons" }, button("strengthen"), button("ban"), button("search"));
  }

  /**
   * @param {string} title
   * @param {string} hint
   * @param {Near[]} near
   */
  near(title, hint, near) {
    if (!near?.length) return "";
    const row = (/** @type {Near} */ { latent, label, similarity }) =>
      h(
        "li",
        {},
        h("button", { type: "button", class: "label link", title: `#${latent}`, on: { click: () => this.open(latent) } }, stranger(label)),
        h("span", { class: "figure" }, percent(similarity)),
        setShare(h("span", { class: "bar", "aria-hidden": "true" }), similarity),
      );
    return h("section", {}, h("h3", {}, title), h("p", { class: "hint" }, hint), h("ul", { class: "near" }, ...near.map(row)));
  }
}

/** What others say of it, with who said it and where. @param {any} view */
function published(view) {
  const told = view.concept?.published;
  if (!told) return "";
  return h(
    "section",
    { class: "published" },
    h("h3", {}, t("published")),
    h("p", { dir: "auto" }, told.text),
    h("p", { class: "hint" }, stranger([told.author, told.source].filter(Boolean).join(" · ")), " ", outwardLink(view.page, h("span", {}, t("publishedLink")))),
  );
}

/** @param {{word: string, strength: number}[]} evidence */
function words(evidence) {
  const most = Math.max(...evidence.map(({ strength }) => strength));
  const shown = evidence.slice(0, WORDS);
  return h(
    "section",
    {},
    h("h3", {}, t("standsFor")),
    h("ul", { class: "words" }, ...shown.map(({ word, strength }) => h("li", {}, setShare(stranger(word), strength / most)))),
  );
}

/** @param {{document_id: string, passage: string, word: string}[]} rows */
function examples(rows) {
  return h(
    "section",
    {},
    h("h3", {}, t("examples")),
    h("ul", { class: "examples" }, ...rows.map(({ document_id, passage, word }) => h("li", {}, h("p", { dir: "auto" }, ...markedWord(passage, word)), stranger(document_id, { class: "hint" })))),
  );
}
