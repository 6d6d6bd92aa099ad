// What there is to steer: the query's concepts, the exact words that matched, and whatever the settings already name.

import { numbered } from "./state.js";

/** @typedef {import("./api.js").Fired} Fired */
/** @typedef {import("./api.js").Hit} Hit */
/** @typedef {import("./state.js").Settings} Settings */

/**
 * Something with a slider.
 * @typedef {object} Item
 * @property {string} label
 * @property {string[]} names what the server calls it: latent ids, or "word:lift"
 * @property {number | null} latent whose page it opens
 * @property {boolean} inQuery it fires in the query by itself
 * @property {number} weight of its heaviest latent in the query
 */

/**
 * The query's concepts, those of one label together, and the words among the hits' reasons.
 * @param {Fired[]} fired heaviest first
 * @param {Hit[]} hits
 * @returns {Item[]}
 */
export function itemsOf(fired, hits) {
  /** @type {Map<string, Item>} */
  const items = new Map();
  const take = (/** @type {string} */ label, /** @type {string} */ name, /** @type {number | null} */ latent, /** @type {number} */ weight) => {
    const item = items.get(label) ?? { label, names: [], latent, inQuery: true, weight };
    if (!item.names.includes(name)) item.names.push(name);
    items.set(label, item);
  };
  for (const concept of fired) take(concept.label, String(concept.latent), concept.latent, concept.weight);
  for (const row of hits.flatMap((hit) => hit.explanation)) {
    if (row.word) take(row.label, row.label, null, 0);
    // without its own list of the query's concepts, a row tells at least these; what was added is no part of the query
    else if (!fired.length && !row.note) for (const latent of row.latents) take(row.label, String(latent), row.latents[0], 0);
  }
  return [...items.values()];
}

/** "#4711", "latent 4711" and "4711" name the same. @param {string} name */
export function plainName(name) {
  const id = /^(?:#|latent )?(\d+)$/i.exec(name.trim());
  return id ? String(Number(id[1])) : name.trim();
}

/**
 * Whether a name in the settings means this item: by id, by word, or by its label.
 * @param {Item} item
 * @param {string} name
 */
export function means(item, name) {
  const plain = plainName(name);
  return item.names.includes(plain) || item.label.toLowerCase() === plain.toLowerCase();
}

/**
 * Every name in the settings.
 * @param {Settings} settings
 */
export function steeredNames(settings) {
  return [...Object.keys(settings.boost), ...settings.ban, ...Object.keys(settings.add)];
}

/**
 * How an item is steered: {kind: "factor", value} with 0 for banned and 1 for left alone, or {kind: "weight", value}.
 * @param {Item} item
 * @param {Settings} settings
 * @returns {{kind: "factor" | "weight", value: number}}
 */
export function steeringOf(item, settings) {
  const find = (/** @type {Record<string, number>} */ numbers) => Object.entries(numbers).find(([name]) => means(item, name));
  if (settings.ban.some((name) => means(item, name))) return { kind: "factor", value: 0 };
  const added = find(settings.add);
  if (added) return { kind: "weight", value: added[1] };
  return { kind: "factor", value: find(settings.boost)?.[1] ?? 1 };
}

/**
 * The settings with an item steered so; a factor of 1 leaves a concept of the query alone.
 * @param {Item} item
 * @param {{kind: "factor" | "weight", value: number} | null} steering null: not named at all
 * @param {Settings} settings
 * @returns {Pick<Settings, "boost" | "ban" | "add">}
 */
export function steer(item, steering, settings) {
  const others = (/** @type {Record<string, number>} */ numbers) =>
    Object.fromEntries(Object.entries(numbers).filter(([name]) => !means(item, name)));
  const own = (/** @type {number} */ value) => Object.fromEntries(item.names.map((name) => [name, value]));
  const boost = others(settings.boost);
  const ban = settings.ban.filter((name) => !means(item, name));
  const add = others(settings.add);
  if (!steering) return { boost, ban, add };
  if (steering.kind === "weight") return { boost, ban, add: { ...add, ...own(steering.value) } };
  if (steering.value === 0) return { boost, ban: [...ban, ...item.names], add };
  if (steering.value === 1 && item.inQuery) return { boost, ban, add };
  return { boost: { ...boost, ...own(steering.value) }, ban, add };
}

/**
 * What of the settings changes the query, as the server takes it.
 * @param {Settings} settings
 */
export function steeringBody(settings) {
  return { boost: numbered(settings.boost), ban: settings.ban, add: numbered(settings.add) };
}
