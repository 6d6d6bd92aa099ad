// Sliders: a concept is strengthened, weakened, banned at the left end, or added.

import { api } from "./api.js";
import { Combobox } from "./combobox.js";
import { itemsOf, means, plainName, steer, steeredNames, steeringOf } from "./concepts_of_query.js";
import { h, icon } from "./dom.js";
import { percent, short, t } from "./i18n.js";
import { badge, labelButton, readable } from "./labels.js";
import { isSteered } from "./state.js";

/** @typedef {import("./api.js").Fired} Fired */
/** @typedef {import("./api.js").Hit} Hit */
/** @typedef {import("./concepts_of_query.js").Item} Item */
/** @typedef {import("./state.js").Settings} Settings */

const SHOWN = 9;
const REACH = 16; // steps of the slider either way, an eighth of a doubling each: from a quarter to four times
const BANNED = -REACH - 1;
const WEIGHTS = 30; // steps of an added concept's slider, a tenth of the query's median weight each

export class SteeringPanel {
  /**
   * @param {object} options
   * @param {import("./colours.js").Colours} options.colours
   * @param {(latent: number) => void} options.openConcept
   * @param {(change: Partial<Settings>, entry: "step" | "later") => void} options.change
   * @param {() => {index: string, language: string}} options.place
   * @param {string} options.id unlike any other panel's
   */
  constructor({ colours, openConcept, change, place, id }) {
    this.colours = colours;
    this.openConcept = openConcept;
    this.change = change;
    this.place = place;
    this.list = h("ul", { class: "sliders" });
    this.title = h("span", {});
    this.hint = h("p", { class: "hint" });
    this.changed = h("span", { class: "changed" });
    this.undo = h("button", { type: "button", class: "quiet", on: { click: () => this.change({ boost: {}, ban: [], add: {} }, "step") } });
    this.more = h("button", { type: "button", class: "quiet", on: { click: () => this.toggle() } });
    this.add = new Combobox({ id: `${id}-add`, find: (text, signal) => this.find(text, signal), choose: (found) => this.choose(found) });
    this.element = h(
      "details",
      { class: "steer" },
      h("summary", {}, this.title, this.changed),
      this.hint,
      this.list,
      h("p", { class: "buttons" }, this.more, this.undo),
      this.add.element,
    );
    this.all = false;
    /** @type {Map<string, Slider>} by label */
    this.sliders = new Map();
    /** @type {Item[]} in the order that they are shown in */
    this.items = [];
    /** @type {Map<string, string>} plain name -> label, of what was added or looked up */
    this.known = new Map();
    this.unit = 1;
    this.settings = /** @type {Settings | null} */ (null);
    this.shares = new Map();
    this.translate();
  }

  translate() {
    this.title.textContent = t("conceptsOfQuery");
    this.hint.textContent = t("steerHint");
    this.undo.textContent = t("undoAll");
    this.add.translate(t("addConcept"), t("addHint"));
    this.sliders.clear();
    this.list.replaceChildren();
    if (this.settings) this.render();
  }

  /** For another query: another list, in another order. */
  clear() {
    this.items = [];
    this.all = false;
    this.sliders.clear();
    this.list.replaceChildren();
  }

  /**
   * @param {Fired[]} fired the query's concepts
   * @param {Hit[]} hits
   * @param {Settings} settings
   */
  update(fired, hits, settings) {
    this.settings = settings;
    const weights = fired.map((concept) => concept.weight).sort((a, b) => a - b);
    if (weights.length) this.unit = weights[Math.floor(weights.length / 2)];
    const total = hits.reduce((sum, hit) => sum + hit.score, 0) || 1;
    this.shares = new Map();
    for (const row of hits.flatMap((hit) => hit.explanation)) {
      this.shares.set(row.label, (this.shares.get(row.label) ?? 0) + row.contribution / total);
      for (const latent of row.latents) this.known.set(row.word ? row.label : String(latent), row.label);
    }
    this.order(itemsOf(fired, hits));
    this.render();
  }

  /** Settings alone: a slider is moved and the hits are on their way. @param {Settings} settings */
  move(settings) {
    this.settings = settings;
    this.render();
  }

  /** Those already shown keep their places; new ones follow, those that contribute most first. @param {Item[]} found */
  order(found) {
    const fresh = new Map(found.map((item) => [item.label, item]));
    const kept = this.items.map((item) => fresh.get(item.label) ?? item);
    const labels = new Set(kept.map((item) => item.label));
    const share = (/** @type {Item} */ item) => this.shares.get(item.label) ?? 0;
    const added = found.filter((item) => !labels.has(item.label)).sort((a, b) => share(b) - share(a) || b.weight - a.weight);
    this.items = [...kept, ...added];
  }

  /** The items with those that only the settings name. */
  listed() {
    const settings = /** @type {Settings} */ (this.settings);
    const items = [...this.items];
    for (const name of steeredNames(settings)) {
      if (items.some((item) => means(item, name))) continue;
      const plain = plainName(name);
      const latent = /^\d+$/.test(plain) ? Number(plain) : null;
      if (latent !== null && !this.known.has(plain)) void this.lookUp(latent);
      items.push({ label: this.known.get(plain) ?? name, names: [plain], latent, inQuery: false, weight: 0 });
    }
    return items;
  }

  render() {
    const settings = /** @type {Settings} */ (this.settings);
    const items = this.listed();
    const changed = items.filter((item) => touched(item, settings));
    const shown = items.filter((item, i) => this.all || i < SHOWN || changed.includes(item));
    const elements = shown.map((item) => {
      const key = `${item.label}\n${steeringOf(item, settings).kind}`;
      const slider = this.sliders.get(key) ?? new Slider(this);
      this.sliders.set(key, slider);
      slider.update(item, settings, this.colours.of(item.label), this.shares.get(item.label) ?? 0);
      return slider.element;
    });
    if (elements.length !== this.list.children.length || elements.some((one, i) => this.list.children[i] !== one)) {
      this.list.replaceChildren(...elements);
    }
    this.more.hidden = items.length <= SHOWN || (!this.all && shown.length === items.length);
    this.more.textContent = this.all ? t("fewer") : t("moreConcepts", { n: items.length - shown.length });
    this.undo.hidden = !isSteered(settings);
    this.changed.textContent = changed.length ? t("changed", { n: changed.length }) : "";
    this.hint.hidden = !items.length;
  }

  toggle() {
    this.all = !this.all;
    this.render();
  }

  /** The label of a latent that only the address names. @param {number} latent */
  async lookUp(latent) {
    const name = String(latent);
    this.known.set(name, `#${latent}`);
    const { index, language } = this.place();
    try {
      this.known.set(name, (await api.concept(index, latent, language)).label);
    } catch {
      return; // its number stands for it; a search that names it says what is wrong
    }
    this.render();
  }

  /**
   * @param {string} text
   * @param {AbortSignal} signal
   */
  async find(text, signal) {
    const { concepts } = await api.named(this.place().index, text, signal);
    return concepts.map(({ latent, label, density }) => ({ value: latent, label, note: rarity(density) }));
  }

  /** @param {{value: number, label: string}} found */
  choose({ value, label }) {
    const item = this.itemOf(value, label);
    const steering = item.inQuery ? { kind: /** @type {const} */ ("factor"), value: 2 } : { kind: /** @type {const} */ ("weight"), value: weightAt(10, this.unit) };
    this.change(steer(item, steering, /** @type {Settings} */ (this.settings)), "step");
  }

  /**
   * @param {number} latent
   * @param {string} label
   */
  ban(latent, label) {
    this.change(steer(this.itemOf(latent, label), { kind: "factor", value: 0 }, /** @type {Settings} */ (this.settings)), "step");
  }

  /**
   * What has a slider already, or what is to get one.
   * @param {number} latent
   * @param {string} label
   * @returns {Item}
   */
  itemOf(latent, label) {
    const name = String(latent);
    this.known.set(name, label);
    return this.listed().find((item) => item.names.includes(name)) ?? { label, names: [name], latent, inQuery: false, weight: 0 };
  }
}

/**
 * One concept: its badge, its label, its share of the scores, its slider and the button that bans it.
 */
class Slider {
  /** @param {SteeringPanel} panel */
  constructor(panel) {
    this.panel = panel;
    this.head = h("div", { class: "head" });
    this.value = h("output", { class: "value" });
    this.range = h("input", {
      type: "range",
      on: { input: () => this.moved("later"), change: () => this.moved("step") },
    });
    this.ban = h("button", { type: "button", class: "round", on: { click: () => this.banned() } }, icon("ban"));
    this.element = h("li", { class: "slider" }, this.head, h("div", { class: "control" }, this.range, this.value, this.ban));
    this.signature = "";
  }

  /**
   * @param {Item} item
   * @param {Settings} settings
   * @param {number} slot
   * @param {number} share of the hits' scores
   */
  update(item, settings, slot, share) {
    this.item = item;
    this.settings = settings;
    const steering = steeringOf(item, settings);
    this.steering = steering;
    const signature = JSON.stringify([item, steering, slot, share]);
    if (signature === this.signature) return;
    this.signature = signature;
    const label = readable(item.label);
    const name = JSON.stringify([item.label, slot, item.latent]);
    if (this.name !== name) {
      this.name = name;
      this.percent = h("span", { class: "percent", title: t("shareOfScores") });
      this.head.replaceChildren(badge(slot), labelButton(item.label, item.latent, slot, this.panel.openConcept), this.percent);
    }
    this.percent.textContent = share ? percent(share) : "";
    this.element.dataset.slot = String(slot);
    this.showValue(steering, label);
  }

  /**
   * @param {{kind: "factor" | "weight", value: number}} steering
   * @param {string} label
   */
  showValue({ kind, value }, label) {
    const text = kind === "weight" ? `+${short(value)}` : value === 0 ? t("banned") : `×${short(value)}`;
    const [min, max, at] = kind === "weight" ? [1, WEIGHTS, (value / this.panel.unit) * 10] : [BANNED, REACH, stepOf(value)];
    Object.assign(this.range, { min: String(min), max: String(max), step: "1" });
    if (document.activeElement !== this.range || stepValue(this, Number(this.range.value)) !== value) this.range.value = String(Math.round(at));
    this.range.setAttribute("aria-label", t("strengthOf", { label }));
    this.range.setAttribute("aria-valuetext", text);
    this.value.textContent = text;
    this.element.classList.toggle("is-banned", kind === "factor" && value === 0);
    this.element.classList.toggle("is-changed", kind === "weight" || value !== 1);
    this.ban.setAttribute("aria-pressed", String(value === 0));
    this.ban.setAttribute("aria-label", t(value === 0 ? "unban" : "ban", { label }));
    this.ban.title = t(value === 0 ? "unban" : "ban", { label });
  }

  /** @param {"step" | "later"} entry */
  moved(entry) {
    const kind = this.steering?.kind ?? "factor";
    const steering = { kind, value: stepValue(this, Number(this.range.value)) };
    this.panel.change(steer(/** @type {Item} */ (this.item), steering, /** @type {Settings} */ (this.panel.settings)), entry);
  }

  /** Ban it, or leave it alone again; what was added is taken out. */
  banned() {
    const item = /** @type {Item} */ (this.item);
    const out = this.steering?.kind === "weight" || this.steering?.value === 0;
    this.panel.change(steer(item, out ? null : { kind: "factor", value: 0 }, /** @type {Settings} */ (this.panel.settings)), "step");
  }
}

/**
 * @param {Item} item
 * @param {Settings} settings
 */
function touched(item, settings) {
  const { kind, value } = steeringOf(item, settings);
  return kind === "weight" || value !== 1 || !item.inQuery;
}

/** @param {number} factor */
function stepOf(factor) {
  return factor === 0 ? BANNED : Math.max(-REACH, Math.min(REACH, 8 * Math.log2(factor)));
}

/**
 * The factor or weight at a step of the slider.
 * @param {Slider} slider
 * @param {number} step
 */
function stepValue(slider, step) {
  if (slider.steering?.kind === "weight") return weightAt(step, slider.panel.unit);
  return step === BANNED ? 0 : Number((2 ** (step / 8)).toPrecision(2));
}

/**
 * @param {number} step
 * @param {number} unit
 */
function weightAt(step, unit) {
  return Number(((step / 10) * unit).toPrecision(2));
}

/** "1 in 80 passages". @param {number} density */
export function rarity(density) {
  return density > 0 ? t("oneIn", { n: Math.max(1, Math.round(1 / density)) }) : t("never");
}
