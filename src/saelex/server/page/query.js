// The query with the words at which concepts fired, of all hits together.

import { readable } from "./labels.js";
import { markedText } from "./marks.js";

/** @typedef {import("./api.js").Hit} Hit */

/**
 * @param {import("./api.js").Found} found
 * @param {import("./colours.js").Colours} colours
 */
export function markedQuery({ query, hits }, colours) {
  const labels = [...totals(hits)].sort((a, b) => b[1] - a[1]).map(([label]) => label);
  const rows = hits.flatMap(({ explanation }) => explanation);
  const latents = new Map(rows.map((row) => [row.label, row.word ? null : row.latents[0]]));
  /** @type {Map<string, {start: number, end: number, rows: Set<number>}>} */
  const places = new Map();
  for (const { query_marks, explanation } of hits) {
    for (const { start, end, rows: own } of query_marks) {
      const place = places.get(`${start} ${end}`) ?? { start, end, rows: new Set() };
      own.forEach((row) => place.rows.add(labels.indexOf(explanation[row].label)));
      places.set(`${start} ${end}`, place);
    }
  }
  const marks = [...places.values()].map((place) => ({ ...place, rows: [...place.rows].sort((a, b) => a - b) }));
  return markedText(query, marks, (i) => ({ slot: colours.of(labels[i]), label: readable(labels[i]), latent: latents.get(labels[i]) ?? null }));
}

/**
 * What each label contributes to all these hits.
 * @param {Hit[]} hits
 * @returns {Map<string, number>}
 */
export function totals(hits) {
  const sums = new Map();
  for (const row of hits.flatMap((hit) => hit.explanation)) sums.set(row.label, (sums.get(row.label) ?? 0) + row.contribution);
  return sums;
}
