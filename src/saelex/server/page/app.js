// The page: what it is made of, and how it follows the state.

import { api, isAbort, onKeyNeeded } from "./api.js";
import { Colours, lightUp } from "./colours.js";
import { Column } from "./column.js";
import { inBoth, moves } from "./compare.js";
import { ConceptPage } from "./concept.js";
import { LANGUAGES, keepLanguage, language, t, takeLanguage, translate } from "./i18n.js";
import { askForKey } from "./key.js";
import { problem } from "./problems.js";
import { totals } from "./query.js";
import { DocumentPage } from "./reading.js";
import { shortcuts } from "./shortcuts.js";
import { Store } from "./state.js";
import { takeTheme, toggledTheme } from "./theme.js";

/** @typedef {import("./state.js").State} State */

const element = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

class App {
  constructor() {
    this.store = new Store();
    this.colours = new Colours();
    /** @type {import("./api.js").IndexFacts[]} */
    this.indexes = [];
    /** @type {Column[]} */
    this.columns = [];
    this.box = element("columns");
    this.input = element("q");
    this.concept = new ConceptPage({
      closed: () => this.store.set({ concept: null }),
      open: (latent) => this.store.set({ concept: { latent, column: this.store.state.concept?.column ?? 0 } }),
      act: (action, latent, label) => this.act(action, latent, label),
    });
    this.document = new DocumentPage(() => this.store.set({ read: null }));
    this.first = true;
    /** @type {boolean | null} */
    this.wasTwo = null;
  }

  start() {
    takeLanguage(this.store.state.lang);
    this.listen();
    this.store.listeners.push((state) => this.follow(state));
    this.follow(this.store.state);
    void this.load();
  }

  listen() {
    element("search").addEventListener("submit", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.ask(this.input.value.trim());
    });
    element("compare").addEventListener("click", () => this.toggleCompare());
    element("theme").addEventListener("click", () => this.store.set({ theme: toggledTheme() }, "replace"));
    element("home").addEventListener("click", (/** @type {Event} */ event) => {
      event.preventDefault();
      this.ask("");
    });
    element("skip").addEventListener("click", (/** @type {Event} */ event) => {
      event.preventDefault();
      element("main").focus();
    });
    const lang = element("lang");
    for (const [code, name] of Object.entries(LANGUAGES)) lang.append(new Option(name, code));
    lang.addEventListener("change", () => {
      keepLanguage(lang.value);
      this.store.set({ lang: lang.value }, "replace");
    });
    onKeyNeeded(askForKey);
    lightUp();
    shortcuts(this.input);
  }

  /** Another query: what was steered belonged to the one before. @param {string} q */
  ask(q) {
    if (q === this.store.state.q) return this.columns.forEach((column) => column.update(false));
    const columns = this.store.state.columns.map((settings) => ({ ...settings, boost: {}, ban: [], add: {} }));
    this.store.set({ q, columns, concept: null, read: null });
  }

  /** What the server has; nothing can be asked before. */
  async load() {
    try {
      this.indexes = (await api.indexes()).indexes;
      element("trouble").hidden = true;
    } catch (error) {
      if (isAbort(error)) return;
      this.trouble(problem(error));
    }
    this.columns.forEach((column) => column.update(true));
    this.followSheets(this.store.state);
  }

  /** @param {{title: string, detail: string}} what */
  trouble({ title, detail }) {
    const box = element("trouble");
    box.hidden = false;
    box.querySelector("h2").textContent = title;
    box.querySelector("p").textContent = detail;
    const again = box.querySelector("button");
    again.textContent = t("again");
    again.onclick = () => void this.load();
  }

  /** @param {State} state */
  follow(state) {
    const anew = takeLanguage(state.lang) || this.first;
    this.first = false;
    takeTheme(state.theme);
    if (anew) translate(document);
    element("lang").value = language();
    if (this.asked !== state.q) this.input.value = this.asked = state.q;
    document.title = state.q ? `${state.q} – saelex` : "saelex";
    document.body.classList.toggle("is-landing", !state.q);
    this.followColumns(state, anew);
    this.followSheets(state);
  }

  /**
   * @param {State} state
   * @param {boolean} anew
   */
  followColumns(state, anew) {
    const two = state.columns.length > 1;
    element("compare").setAttribute("aria-pressed", String(two));
    this.box.classList.toggle("is-two", two);
    element("main").classList.toggle("is-wide", two);
    while (this.columns.length > state.columns.length) this.columns.pop()?.leave();
    while (this.columns.length < state.columns.length) {
      const column = new Column(
        { store: this.store, colours: this.colours, say, found: () => this.found(), indexes: () => this.indexes },
        this.columns.length,
      );
      this.columns.push(column);
      this.box.append(column.element);
      column.update(true);
    }
    this.columns.forEach((column) => column.update(anew));
    if (two === this.wasTwo) return;
    this.wasTwo = two;
    const room = matchMedia("(min-width: 60rem)").matches;
    for (const column of this.columns) column.steering.element.open = room && !two;
    this.found();
  }

  /** @param {State} state */
  followSheets({ concept, read, q }) {
    const conceptColumn = concept && this.columns[concept.column];
    if (conceptColumn?.indexName()) void this.concept.show(conceptColumn.indexName(), concept.latent, conceptColumn.settings().labels, q !== "");
    else this.concept.hide();
    const readColumn = read && this.columns[read.column];
    if (readColumn?.indexName()) void this.document.show(readColumn.indexName(), read.id, readColumn.result?.hits.find(({ id }) => id === read.id), this.colours);
    else this.document.hide();
  }

  /** A column has other hits: colours are shared out anew, and both lists say where they differ. */
  found() {
    const lists = this.columns.map((column) => column.result?.hits ?? []);
    if (!lists.some((hits) => hits.length)) this.colours.clear();
    else this.colours.assign(totals(lists.flat()));
    const two = lists.length > 1;
    this.columns.forEach((column, i) => {
      const other = two && column.result ? (this.columns[1 - i].result?.hits ?? null) : null;
      const shown = two ? moves(lists[i], other) : moves(lists[i], column.unsteered?.hits ?? null);
      // what moved is told once, beside the first column; what only one of them has, in both
      if (two && i === 0) for (const [id, move] of shown) if (move.kind !== "only") shown.delete(id);
      column.overlap = two && other ? t("inBoth", { n: inBoth(lists[i], other) }) : "";
      column.showMoves(shown);
    });
    const { read } = this.store.state;
    if (read) this.followSheets(this.store.state);
  }

  toggleCompare() {
    const [first] = this.store.state.columns;
    const two = this.store.state.columns.length > 1;
    this.store.set({ columns: two ? [first] : [first, { ...first }], concept: null, read: null });
  }

  /**
   * @param {import("./concept.js").Action} action
   * @param {number} latent
   * @param {string} label
   */
  act(action, latent, label) {
    const column = this.columns[this.store.state.concept?.column ?? 0];
    if (action === "search") return this.ask(label.replace(/ \(context\)$/, "").replaceAll(" · ", " "));
    this.store.set({ concept: null }, "later");
    if (action === "ban") column.steering.ban(latent, label);
    else column.steering.choose({ value: latent, label });
  }
}

/** For who listens: what has happened. @param {string} text */
function say(text) {
  element("say").textContent = text;
}

new App().start();
