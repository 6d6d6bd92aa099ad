// One column: how it searches, what can be steered, and what it found.

import { ApiError, Newest, api, isAbort } from "./api.js";
import { steeringBody } from "./concepts_of_query.js";
import { copyBlocks } from "./copying.js";
import { h, icon, keepFocus } from "./dom.js";
import { filterChips, filterFields, isAsked } from "./filters.js";
import { HitList } from "./hits.js";
import { t } from "./i18n.js";
import { failure, landing, nothingFound } from "./notices.js";
import { optionFields } from "./options.js";
import { problem } from "./problems.js";
import { markedQuery } from "./query.js";
import { MOST, isSteered } from "./state.js";
import { SteeringPanel } from "./steering.js";

/** @typedef {import("./api.js").Found} Found */
/** @typedef {import("./api.js").Hit} Hit */
/** @typedef {import("./api.js").IndexFacts} IndexFacts */
/** @typedef {import("./state.js").Settings} Settings */
/** @typedef {import("./state.js").State} State */

const BUSY = 200; // ms until a search shows that it takes a while
const SLOW = 4000; // ms until it says so
const STEP = 10; // hits more

/**
 * What columns share.
 * @typedef {object} Shared
 * @property {import("./state.js").Store} store
 * @property {import("./colours.js").Colours} colours
 * @property {(text: string) => void} say for who listens
 * @property {() => void} found a column has other hits
 * @property {() => IndexFacts[]} indexes
 */

export class Column {
  /**
   * @param {Shared} shared
   * @param {number} number 0, or 1 for the second
   */
  constructor(shared, number) {
    this.shared = shared;
    this.number = number;
    this.newest = new Newest();
    this.key = "";
    this.group = "";
    /** @type {Found | null} */
    this.result = null;
    /** @type {import("./api.js").Fired[]} */
    this.fired = [];
    /** @type {{key: string, hits: Hit[]} | null} what was found unsteered, to see what steering moves */
    this.unsteered = null;
    const openConcept = (/** @type {number} */ latent) => shared.store.set({ concept: { latent, column: number } });
    this.steering = new SteeringPanel({
      colours: shared.colours,
      openConcept,
      change: (change, entry) => shared.store.setColumn(number, change, entry),
      place: () => ({ index: this.indexName(), language: this.settings().labels }),
      id: `steer-${number}`,
    });
    this.hits = new HitList({ colours: shared.colours, openConcept, openDocument: (id) => shared.store.set({ read: { id, column: number } }) });
    this.build();
  }

  build() {
    const menu = (/** @type {string} */ name) => {
      const summary = h("summary", {}, icon(name), h("span", {}));
      const body = h("div", { class: "sheetlet" });
      return { element: h("details", { class: "menu", name: `menu-${this.number}` }, summary, body), label: summary.lastChild, body };
    };
    this.title = h("h2", { class: "title" });
    this.chooser = h("span", { class: "chooser" });
    this.filters = menu("filter");
    this.options = menu("options");
    this.copy = menu("copy");
    this.copy.element.addEventListener("toggle", () => this.fillCopy());
    this.chips = h("p", { class: "chips" });
    this.query = h("p", { class: "query", dir: "auto" });
    this.status = h("p", { class: "status" });
    this.notice = h("div", { class: "notice" });
    this.more = h("button", { type: "button", class: "button more", hidden: true, on: { click: () => this.wantMore() } });
    this.element = h(
      "section",
      { class: "column", "data-column": this.number },
      h("div", { class: "toolbar" }, this.title, this.chooser, this.filters.element, this.options.element, this.copy.element),
      this.chips,
      h("div", { class: "progress", "aria-hidden": "true" }),
      h(
        "div",
        { class: "grid" },
        h("aside", { class: "side" }, this.steering.element),
        h("div", { class: "results" }, this.query, this.status, this.notice, this.hits.element, this.more),
      ),
    );
  }

  /** @returns {State} */
  state() {
    return this.shared.store.state;
  }

  /** @returns {Settings} */
  settings() {
    return this.state().columns[this.number];
  }

  /** The name asked for; the first index where none is. */
  indexName() {
    return this.settings().index || (this.shared.indexes()[0]?.name ?? "");
  }

  /** @returns {IndexFacts | undefined} */
  facts() {
    return this.shared.indexes().find(({ name }) => name === this.indexName());
  }

  /** Follow the state. @param {boolean} anew also what has not changed: the page's language has */
  update(anew) {
    const settings = this.settings();
    if (anew) this.steering.translate();
    this.showSettings(anew);
    this.search(settings);
    if (this.result) this.steering.move(settings);
    if (anew) this.show(true);
  }

  /** @param {boolean} anew */
  showSettings(anew) {
    const { columns, k, q } = this.state();
    const { boost, ban, add, ...plain } = this.settings();
    const signature = JSON.stringify([plain, k, columns.length, !q, this.shared.indexes().map(({ name }) => name)]);
    if (this.copy.element.open) this.fillCopy();
    if (!anew && signature === this.shownSettings) return;
    this.shownSettings = signature;
    const two = columns.length > 1;
    const label = two ? t("columnLabel", { name: "AB"[this.number] }) : t("results");
    this.element.setAttribute("aria-label", label);
    this.title.textContent = two ? "AB"[this.number] : t("results");
    this.title.classList.toggle("hidden", !two);
    const focused = keepFocus(this.element);
    this.fillChooser();
    this.fillFilters();
    this.options.body.replaceChildren(...optionFields(this.facts(), this.settings(), k, `options-${this.number}`, (change) => this.change(change), (wanted) => this.shared.store.set({ k: wanted })));
    this.options.label.textContent = t("options");
    this.copy.label.textContent = t("copy");
    this.copy.element.hidden = !q;
    focused();
  }

  /** @param {Partial<Settings>} change */
  change(change) {
    this.shared.store.setColumn(this.number, change);
  }

  fillChooser() {
    const names = this.shared.indexes().map(({ name }) => name);
    if (names.length < 2) return this.chooser.replaceChildren();
    const change = (/** @type {Event} */ event) => this.change({ index: /** @type {HTMLSelectElement} */ (event.target).value, where: {}, boost: {}, ban: [], add: {} });
    const own = this.indexName();
    this.chooser.replaceChildren(
      h("select", { "aria-label": t("index"), on: { change } }, ...[...new Set([...names, own])].map((name) => h("option", { value: name, selected: name === own }, name))),
    );
  }

  fillFilters() {
    const { where } = this.settings();
    const fields = this.facts()?.fields ?? [];
    const set = (/** @type {Settings["where"]} */ wanted) => this.change({ where: wanted });
    const n = Object.keys(where).length;
    this.filters.element.hidden = !fields.some(isAsked);
    this.filters.label.textContent = n ? t("filtersSet", { n }) : t("filters");
    this.filters.body.replaceChildren(...filterFields(fields, where, `filter-${this.number}`, set));
    this.chips.replaceChildren(...filterChips(where, set));
  }

  fillCopy() {
    const { q, k } = this.state();
    if (!this.copy.element.open || !q) return;
    const search = { q, k, index: this.indexName(), settings: this.settings() };
    const signature = JSON.stringify([search, t("copy")]);
    if (signature === this.copied) return;
    this.copied = signature;
    this.copy.body.replaceChildren(...copyBlocks(search, this.shared.say));
  }

  /** Ask, unless that has been asked. @param {Settings} settings */
  search(settings) {
    const { q, k } = this.state();
    const index = this.indexName();
    if (!q.trim() || !index) return this.rest();
    const { mode, words, where, labels } = settings;
    const plain = { query: q, k, mode, words, where, language: labels || null };
    const body = { ...plain, ...steeringBody(settings) };
    const key = JSON.stringify([index, body]);
    if (key === this.key) return;
    this.key = key;
    this.rested = false;
    const group = JSON.stringify([index, q, labels]);
    if (group !== this.group) this.begin(group, index, q, labels);
    const unsteered = JSON.stringify([index, plain]);
    this.wait();
    this.newest.ask(group, async (signal) => {
      try {
        const [result] = await Promise.all([api.search(index, body, signal), this.concepts]);
        if (group !== this.group) return;
        if (!isSteered(settings)) this.unsteered = { key: unsteered, hits: result.hits };
        else if (this.unsteered?.key !== unsteered) this.unsteered = null;
        this.take(result, settings);
      } catch (error) {
        if (!isAbort(error)) this.fail(error);
      }
    });
  }

  /**
   * Another query: what was found for the one before is gone when this one answers, not earlier.
   * @param {string} group
   * @param {string} index
   * @param {string} q
   * @param {string} labels
   */
  begin(group, index, q, labels) {
    this.group = group;
    this.fresh = true;
    this.firing?.abort();
    const firing = (this.firing = new AbortController());
    this.concepts = api.fired(index, q, labels, firing.signal).then(
      ({ concepts }) => void (group === this.group && (this.fired = concepts)),
      (error) => {
        // the words and concepts among the reasons are left to steer by, and a server that is gone is told of by the search
        if (!(error instanceof ApiError) && !isAbort(error)) throw error;
        if (group === this.group) this.fired = [];
      },
    );
  }

  /** Nothing is asked. */
  rest() {
    this.newest.stop();
    this.firing?.abort();
    this.waited();
    this.key = this.group = "";
    if (!this.result && !this.error && this.rested) return;
    this.rested = true;
    this.result = this.error = null;
    this.fired = [];
    this.steering.clear();
    this.hits.clear();
    this.shared.found();
  }

  /** It is taken off the page. */
  leave() {
    this.newest.stop();
    this.firing?.abort();
    this.waited();
    this.element.remove();
  }

  wait() {
    clearTimeout(this.busy);
    clearTimeout(this.slow);
    this.element.setAttribute("aria-busy", "true");
    this.busy = setTimeout(() => this.element.classList.add("is-busy"), BUSY);
    this.slow = setTimeout(() => this.status.replaceChildren(t("slow")), SLOW);
  }

  waited() {
    clearTimeout(this.busy);
    clearTimeout(this.slow);
    this.element.setAttribute("aria-busy", "false");
    this.element.classList.remove("is-busy");
  }

  /**
   * @param {Found} result
   * @param {Settings} settings those it was asked with
   */
  take(result, settings) {
    if (!this.newest.waiting) this.waited();
    if (this.fresh) {
      this.steering.clear();
      this.hits.clear();
      this.fresh = false;
    }
    this.error = null;
    this.result = result;
    this.shared.found();
    const first = result.hits[0];
    if (isSteered(settings) && first) this.shared.say(t("nowFirst", { title: first.title || first.id }));
    else this.shared.say(first ? t("found", { n: result.hits.length }) : t("noHits"));
  }

  /** @param {unknown} error */
  fail(error) {
    this.waited();
    this.key = "";
    this.error = problem(error);
    this.result = null;
    this.hits.clear();
    this.shared.found();
    this.shared.say(`${this.error.title}. ${this.error.detail}`);
  }

  wantMore() {
    this.shared.store.set({ k: Math.min(MOST, this.state().k + STEP) });
  }

  /**
   * What was found, what went wrong, or what there is to look for.
   * @param {boolean} [anew]
   */
  show(anew = false) {
    const hits = this.result?.hits ?? [];
    this.hits.update(hits, this.moves ?? new Map(), anew);
    this.element.classList.toggle("is-landing", !this.result && !this.error);
    this.element.classList.toggle("has-nothing", !hits.length);
    this.query.replaceChildren(...(this.result && hits.length ? markedQuery(this.result, this.shared.colours) : []));
    this.showStatus(hits);
    this.showNotice(hits);
    this.more.hidden = !hits.length || hits.length < this.state().k || hits.length >= MOST;
    this.more.textContent = t("moreHits");
  }

  /**
   * Show it all, with where each hit stands beside another list.
   * @param {Map<string, import("./hits.js").Move>} moves
   */
  showMoves(moves) {
    this.moves = moves;
    if (this.result || this.error) this.steering.update(this.fired, this.result?.hits ?? [], this.settings());
    this.show();
  }

  /** @param {Hit[]} hits */
  showStatus(hits) {
    const facts = this.facts();
    if (!this.result || !hits.length) return this.status.replaceChildren();
    const ms = Object.values(this.result.took_ms ?? {}).reduce((sum, part) => sum + part, 0);
    const parts = [t("hits", { n: hits.length }), facts ? t("ofDocuments", { n: facts.documents }) : "", t("took", { ms: Math.max(1, Math.round(ms)) })];
    this.status.replaceChildren(parts.filter(Boolean).join(" · "), this.overlap ? ` · ${this.overlap}` : "");
  }

  /** @param {Hit[]} hits */
  showNotice(hits) {
    const { q } = this.state();
    if (this.error) return this.notice.replaceChildren(...failure(this.error, () => this.update(false)));
    if (this.result) return this.notice.replaceChildren(...(hits.length ? [] : nothingFound(this.settings())));
    this.notice.replaceChildren(...(q.trim() ? [] : landing(this.facts())));
  }
}
