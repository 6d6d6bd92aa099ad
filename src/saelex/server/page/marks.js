// Marked words. The server counts characters as Python does (code points); strings here count UTF-16 units.

import { h } from "./dom.js";

/** @typedef {{start: number, end: number, rows: number[]}} Mark rows: of the hit's explanation, heaviest first */
/** @typedef {{text: string, rows: number[] | null}} Piece */

/**
 * Where code point `at` begins in the string, for ascending positions.
 * @param {string} text
 * @returns {(at: number) => number}
 */
function unitsOf(text) {
  if (!/[\ud800-\udbff]/.test(text)) return (at) => Math.min(at, text.length);
  let point = 0;
  let unit = 0;
  return (at) => {
    if (at < point) point = unit = 0;
    while (point < at && unit < text.length) {
      unit += /** @type {number} */ (text.codePointAt(unit)) > 0xffff ? 2 : 1;
      point += 1;
    }
    return unit;
  };
}

/**
 * The part of a text between two positions in code points.
 * @param {string} text
 * @param {number} start
 * @param {number} end
 */
export function sliceCodePoints(text, start, end) {
  const units = unitsOf(text);
  return text.slice(units(start), units(end));
}

/**
 * A text in pieces, marked and not. Marks that overlap one before them, or hold nothing, are left out.
 * @param {string} text
 * @param {Mark[]} marks
 * @returns {Piece[]}
 */
export function pieces(text, marks) {
  const units = unitsOf(text);
  /** @type {Piece[]} */
  const found = [];
  let at = 0;
  for (const mark of [...marks].sort((a, b) => a.start - b.start)) {
    const start = units(mark.start);
    const end = units(mark.end);
    if (start < at || end <= start) continue;
    if (start > at) found.push({ text: text.slice(at, start), rows: null });
    found.push({ text: text.slice(start, end), rows: mark.rows });
    at = end;
  }
  if (at < text.length) found.push({ text: text.slice(at), rows: null });
  return found;
}

/**
 * A text with its marked words, each in the colour and style of the heaviest concept there that has one.
 * @param {string} text
 * @param {Mark[]} marks
 * @param {(row: number) => {slot: number, label: string, latent: number | null}} concept
 * @returns {Node[]}
 */
export function markedText(text, marks, concept) {
  return pieces(text, marks).map((piece) => {
    if (!piece.rows) return document.createTextNode(piece.text);
    const concepts = piece.rows.map(concept);
    const first = concepts.find(({ slot }) => slot > 0) ?? concepts[0];
    return h(
      "mark",
      {
        "data-slot": first?.slot ?? 0,
        "data-latent": first?.latent,
        title: concepts.map(({ label }) => label).join("\n"),
      },
      piece.text,
    );
  });
}

/**
 * A text in which every place of a word, in any case and between its borders, is marked.
 * @param {string} text
 * @param {string} word
 * @returns {Node[]}
 */
export function markedWord(text, word) {
  if (!word.trim()) return [document.createTextNode(text)];
  const escaped = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  const spaced = /^[\p{L}\p{N}]/u.test(word) && !/^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u.test(word);
  const pattern = new RegExp(spaced ? `(?<![\\p{L}\\p{N}_])${escaped}(?![\\p{L}\\p{N}_])` : escaped, "giu");
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    nodes.push(document.createTextNode(text.slice(at, match.index)), h("mark", { "data-slot": 1 }, match[0]));
    at = match.index + match[0].length;
  }
  return [...nodes, document.createTextNode(text.slice(at))];
}
