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
    /** @type {Map<string, {element: HTMLElement, signature: string}>} */
    this.shown = new Map();
    /** @type {Map<string, {all: boolean, whole: boolean}>} what a reader has unfolded */
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
    const before = STILL.matches ? new Map() : this.tops();
    const focused = keepFocus(document.activeElement?.closest(".hit") ?? this.element);
    const kept = new Map();
    const best = hits[0]?.score || 1;
    for (const hit of hits) {
      const signature = JSON.stringify([
        hit, best, moves.get(hit.id), this.unfolded.get(hit.id), hit.explanation.map((row) => this.colours.of(row.label)),
      ]);
      const old = this.shown.get(hit.id);
      const element = old?.element ?? h("li", { class: "hit", tabindex: -1, "data-id": hit.id });
      if (anew || old?.signature !== signature) element.replaceChildren(this.content(hit, best));
      kept.set(hit.id, { element, signature });
    }
    this.shown = kept;
    const order = hits.map((hit) => kept.get(hit.id).element);
    if (order.length !== this.element.children.length || order.some((element, i) => this.element.children[i] !== element)) {
      this.element.replaceChildren(...order);
    }
    focused();
    this.slide(before);
  }

  /** @param {string} id */
  again(id) {
    this.shown.get(id)?.element && this.update(this.hits, this.moves);
  }

  /**
   * @param {Hit} hit
   * @param {number} best
   */
  content(hit, best) {
    const { total } = hundredths(hit.explanation.map((row) => row.contribution));
    const state = this.unfolded.get(hit.id) ?? { all: false, whole: false };
    const unfold = (/** @type {Partial<typeof state>} */ change) => {
      this.unfolded.set(hit.id, { ...state, ...change });
      this.again(hit.id);
    };
    return h(
      "article",
      { "aria-label": t("hitLabel", { rank: hit.rank, title: hit.title || hit.id }) },
      h(
        "header",
        {},
        h("span", { class: "rank" }, String(hit.rank)),
        h("h3", {}, outwardLink(hit.url, stranger(hit.title || hit.id))),
        moveTag(this.moves.get(hit.id)),
        h("span", { class: "score", "data-hundredths": total, title: t("score") }, fixed(total)),
      ),
      scoreBar(hit.explanation, this.colours, best),
      h(
        "div",
        { class: "body" },
        h("div", { class: "passage" }, this.passage(hit, state.whole), this.foot(hit, state.whole, unfold)),
        reasons(hit.explanation, {
          colours: this.colours,
          all: state.all,
          toggle: () => unfold({ all: !state.all }),
          open: this.openConcept,
        }),
      ),
    );
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
   * @param {(change: {whole: boolean}) => void} unfold
   */
  foot(hit, whole, unfold) {
    const facts = Object.entries(hit.metadata).filter(([name, value]) => name !== "url" && isScalar(value));
    return h(
      "p",
      { class: "foot" },
      ...facts.slice(0, FACTS).map(([name, value]) => h("span", { class: "fact" }, stranger(name, { class: "name" }), " ", stranger(String(value)))),
      h(
        "button",
        { type: "button", class: "quiet", "aria-expanded": String(whole), on: { click: () => unfold({ whole: !whole }) } },
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
