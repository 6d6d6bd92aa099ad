// Two lists side by side: where a hit stands in the other one.

/** @typedef {import("./api.js").Hit} Hit */
/** @typedef {import("./hits.js").Move} Move */

/**
 * Of every hit, how far it is above or below its place in the other list.
 * @param {Hit[]} hits
 * @param {Hit[] | null} other null: there is nothing to compare with
 * @returns {Map<string, Move>}
 */
export function moves(hits, other) {
  if (!other) return new Map();
  const ranks = new Map(other.map((hit) => [hit.id, hit.rank]));
  return new Map(
    hits.map((hit) => {
      const rank = ranks.get(hit.id);
      if (rank === undefined) return [hit.id, { kind: "only", by: 0 }];
      const by = rank - hit.rank;
      return [hit.id, { kind: by > 0 ? "up" : by < 0 ? "down" : "same", by: Math.abs(by) }];
    }),
  );
}

/**
 * How many hits both lists have.
 * @param {Hit[]} hits
 * @param {Hit[]} other
 */
export function inBoth(hits, other) {
  const ids = new Set(other.map((hit) => hit.id));
  return hits.filter((hit) => ids.has(hit.id)).length;
}
