// The list of hits. A hit that is as it was is left alone; one that moved slides to its place.

import { h, keepFocus, outwardLink, stranger } from "./dom.js";
import { fixed, t } from "./i18n.js";
import { readable } from "./labels.js";
import { markedText } from "./marks.js";
import { hundredths } from "./numbers.js";
import { reasons, scoreBar } from "./reasons.js";

/** @typedef {import("./api.js").Hit} Hit */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {{kind: "same" | "up" | "down" | "only", by: number}} Move */
/** @typedef {{all: boolean, whole: boolean}} Unfolded all reasons, the whole passage */
/** @typedef {Record<"head" | "passage" | "why", any>} Parts */
/** @typedef {{element: HTMLElement, article: HTMLElement, parts: Parts, signatures: Partial<Parts>}} Shown */

const STILL = matchMedia("(prefers-reduced-motion: reduce)");
const SLIDE = { duration: 180, easing: "cubic-bezier(.2, .7, .2, 1)" };
const FACTS = 6; // metadata fields shown of a hit

export class HitList {
  /**
   * @param {object} options
   * @param {Colours} options.colours
   * @param {(latent: number) => void} options.openConcept
   * @param {(id: string) => void} options.openDocument
   */
  constructor({ colours, openConcept, openDocument }) {
    this.element = h("ol", { class: "hits" });
    this.colours = colours;
    this.openConcept = openConcept;
    this.openDocument = openDocument;
    /** @type {Map<string, Shown>} */
    this.shown = new Map();
    /** @type {Map<string, Unfolded>} what a reader has unfolded */
    this.unfolded = new Map();
    /** @type {Hit[]} */
    this.hits = [];
    /** @type {Map<string, Move>} */
    this.moves = new Map();
  }

  /** For another query: nothing is unfolded. */
  clear() {
    this.unfolded.clear();
    this.update([], new Map());
  }

  /**
   * @param {Hit[]} hits
   * @param {Map<string, Move>} moves where each stands beside another list
   * @param {boolean} [anew] also those that have not changed: the page's language has
   */
  update(hits, moves, anew = false) {
    this.hits = hits;
    this.moves = moves;
    const focused = keepFocus(document.activeElement?.closest(".hit") ?? this.element);
    const before = [...this.element.children];
    const best = hits[0]?.score || 1;
    const kept = new Map(hits.map((hit) => [hit.id, this.shown.get(hit.id) ?? shownAt(hit.id)]));
    const order = hits.map((hit) => kept.get(hit.id).element);
    const same = order.length === before.length && order.every((element, i) => element === before[i]);
    const tops = same || STILL.matches ? new Map() : this.tops();
    this.shown = kept;
    for (const hit of hits) this.renew(kept.get(hit.id), hit, best, anew);
    if (!same) this.element.replaceChildren(...order);
    focused();
    this.slide(tops);
  }

  /**
   * Make those parts of a hit anew that are to look otherwise: while a slider moves, that is seldom the passage.
   * @param {Shown} shown
   * @param {Hit} hit
   * @param {number} best
   * @param {boolean} anew
   */
  renew(shown, hit, best, anew) {
    const state = this.unfolded.get(hit.id) ?? { all: false, whole: false };
    const rows = hit.explanation.map((row) => [row.label, this.colours.of(row.label)]);
    const text = state.whole ? [hit.text, hit.text_marks] : hit.snippet;
    const label = t("hitLabel", { rank: hit.rank, title: hit.title || hit.id });
    if (shown.article.getAttribute("aria-label") !== label) shown.article.setAttribute("aria-label", label);
    /** @type {[keyof Parts, any, () => HTMLElement][]} */
    const parts = [
      ["head", [hit.rank, hit.title, hit.url, this.moves.get(hit.id), best, hit.explanation, rows], () => this.head(hit, best)],
      ["passage", [text, hit.metadata, rows], () => this.passagePart(hit, state)],
      ["why", [hit.explanation, rows, state.all], () => this.why(hit, state)],
    ];
    for (const [name, content, make] of parts) {
      const signature = JSON.stringify(content);
      if (!anew && shown.signatures[name] === signature) continue;
      shown.signatures[name] = signature;
      const made = make();
      shown.parts[name].replaceWith(made);
      shown.parts[name] = made;
    }
  }

  /**
   * @param {string} id
   * @param {Partial<Unfolded>} change
   */
  unfold(id, change) {
    this.unfolded.set(id, { ...(this.unfolded.get(id) ?? { all: false, whole: false }), ...change });
    this.update(this.hits, this.moves);
  }

  /**
   * @param {Hit} hit
   * @param {number} best
   */
  head(hit, best) {
    const { total } = hundredths(hit.explanation.map((row) => row.contribution));
    return h(
      "div",
      {},
      h(
        "header",
        {},
        h("span", { class: "rank" }, String(hit.rank)),
        h("h3", {}, outwardLink(hit.url, stranger(hit.title || hit.id))),
        moveTag(this.moves.get(hit.id)),
        h("span", { class: "score", title: t("score") }, fixed(total)),
      ),
      scoreBar(hit.explanation, this.colours, best),
    );
  }

  /**
   * @param {Hit} hit
   * @param {Unfolded} state
   */
  passagePart(hit, { whole }) {
    return h("div", { class: "passage" }, this.passage(hit, whole), this.foot(hit, whole));
  }

  /**
   * @param {Hit} hit
   * @param {Unfolded} state
   */
  why(hit, { all }) {
    const toggle = () => this.unfold(hit.id, { all: !all });
    return reasons(hit.explanation, { colours: this.colours, all, toggle, open: this.openConcept });
  }

  /**
   * @param {Hit} hit
   * @param {boolean} whole
   */
  passage(hit, whole) {
    const { text, marks } = whole ? { text: hit.text, marks: hit.text_marks } : hit.snippet;
    const concept = (/** @type {number} */ i) => rowConcept(hit, i, this.colours);
    return h(
      "p",
      { class: whole ? "text whole" : "text", dir: "auto", on: { click: (/** @type {Event} */ event) => this.markClicked(event) } },
      ...markedText(text, marks, concept),
    );
  }

  /** @param {Event} event */
  markClicked(event) {
    const latent = event.target instanceof Element ? event.target.closest("mark")?.getAttribute("data-latent") : null;
    if (latent && getSelection()?.isCollapsed !== false) this.openConcept(Number(latent));
  }

  /**
   * @param {Hit} hit
   * @param {boolean} whole
   */
  foot(hit, whole) {
    const facts = Object.entries(hit.metadata).filter(([name, value]) => name !== "url" && isScalar(value));
    return h(
      "p",
      { class: "foot" },
      ...facts.slice(0, FACTS).map(([name, value]) => h("span", { class: "fact" }, stranger(name, { class: "name" }), " ", stranger(String(value)))),
      h(
        "button",
        { type: "button", class: "quiet", "aria-expanded": String(whole), on: { click: () => this.unfold(hit.id, { whole: !whole }) } },
        t(whole ? "snippetOnly" : "wholePassage"),
      ),
      h("button", { type: "button", class: "quiet", on: { click: () => this.openDocument(hit.id) } }, t("document")),
    );
  }

  tops() {
    return new Map([...this.shown].map(([id, { element }]) => [id, element.getBoundingClientRect().top]));
  }

  /** @param {Map<string, number>} before */
  slide(before) {
    if (!before.size) return;
    for (const [id, { element }] of this.shown) {
      const top = before.get(id);
      const by = top === undefined ? 0 : top - element.getBoundingClientRect().top;
      if (Math.abs(by) > 1) element.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], SLIDE);
    }
  }
}

/** A hit's place in the list, empty. @param {string} id @returns {Shown} */
function shownAt(id) {
  const parts = { head: h("div"), passage: h("div"), why: h("div") };
  const article = h("article", {}, parts.head, h("div", { class: "body" }, parts.passage, parts.why));
  return { element: h("li", { class: "hit", tabindex: -1, "data-id": id }, article), article, parts, signatures: {} };
}

/**
 * What the i-th row of a hit's explanation is shown as.
 * @param {Hit} hit
 * @param {number} i
 * @param {Colours} colours
 */
export function rowConcept(hit, i, colours) {
  const row = hit.explanation[i];
  return { slot: colours.of(row.label), label: readable(row.label), latent: row.word ? null : row.latents[0] };
}

/** @param {unknown} value */
function isScalar(value) {
  return ["string", "number", "boolean"].includes(typeof value);
}

/** @param {Move | undefined} move */
function moveTag(move) {
  if (!move || move.kind === "same") return null;
  const signs = { up: "▲", down: "▼", only: "" };
  const text = move.kind === "only" ? t("onlyHere") : `${signs[move.kind]} ${move.by}`;
  const spoken = move.kind === "only" ? t("onlyHere") : t(move.kind === "up" ? "movedUp" : "movedDown", { n: move.by });
  return h("span", { class: `move ${move.kind}` }, h("span", { "aria-hidden": "true" }, text), h("span", { class: "hidden" }, spoken));
}
