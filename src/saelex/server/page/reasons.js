// Why a hit was found: bars of what each concept contributes, the rest named, and the sum, which is the score.

import { h, setShare, stranger } from "./dom.js";
import { fixed, t } from "./i18n.js";
import { badge, labelButton, readable } from "./labels.js";
import { exactSum, hundredths } from "./numbers.js";

/** @typedef {import("./api.js").Row} Row */
/** @typedef {import("./colours.js").Colours} Colours */

const SHOWN = 5;
const NAMED = 6; // labels that stand for the rest

/**
 * @param {Row[]} rows all of the hit's, largest first
 * @param {object} options
 * @param {Colours} options.colours
 * @param {boolean} options.all show every row
 * @param {() => void} options.toggle show all, or fewer again
 * @param {(latent: number) => void} options.open a concept's page
 */
export function reasons(rows, { colours, all, toggle, open }) {
  const shown = all || rows.length <= SHOWN + 1 ? rows : rows.slice(0, SHOWN);
  const rest = rows.slice(shown.length);
  const { parts, total } = hundredths([
    ...shown.map((row) => row.contribution),
    ...(rest.length ? [exactSum(rest.map((row) => row.contribution))] : []),
  ]);
  const largest = rows[0]?.contribution || 1;
  const list = h("ol", { class: "reasons" });
  shown.forEach((row, i) => {
    const slot = colours.of(row.label);
    list.append(
      h(
        "li",
        { class: "reason", "data-slot": slot },
        badge(slot),
        h(
          "span",
          { class: "what" },
          labelButton(row.label, row.word ? null : row.latents[0], slot, open),
          row.note ? h("span", { class: "note" }, row.note) : null,
          " ",
          fired(row),
        ),
        figure(parts[i], "part"),
        setShare(h("span", { class: "bar", "data-slot": slot, "aria-hidden": "true" }), row.contribution / largest),
      ),
    );
  });
  if (rest.length) list.append(restRow(rest, parts[shown.length], largest, toggle));
  return h(
    "div",
    { class: "why" },
    list,
    h(
      "p",
      { class: "sum" },
      all && rows.length > SHOWN + 1 ? h("button", { type: "button", class: "quiet", on: { click: toggle } }, t("fewer")) : h("span"),
      h("span", { class: "of" }, t("sum")),
      figure(total, "total"),
    ),
  );
}

/**
 * @param {number} value hundredths
 * @param {string} kind
 */
function figure(value, kind) {
  return h("span", { class: `figure ${kind}` }, fixed(value));
}

/**
 * @param {Row[]} rest
 * @param {number} part hundredths
 * @param {number} largest
 * @param {() => void} toggle
 */
function restRow(rest, part, largest, toggle) {
  const names = rest.slice(0, NAMED).map((row) => readable(row.label));
  const text = names.join(", ") + (rest.length > NAMED ? ", …" : "");
  return h(
    "li",
    { class: "reason rest", "data-slot": 0 },
    badge(0),
    h(
      "span",
      { class: "what" },
      h("button", { type: "button", class: "label link", "aria-expanded": "false", on: { click: toggle } }, t("more", { n: rest.length })),
      stranger(text, { class: "fired" }),
    ),
    figure(part, "part"),
    setShare(h("span", { class: "bar", "data-slot": 0, "aria-hidden": "true" }), part / 100 / largest),
  );
}

/** Where it fired: "wing → airfoil, near drag"; a word that is the same on both sides is named once. @param {Row} row */
function fired(row) {
  const side = (/** @type {string[]} */ words, /** @type {string[]} */ context) =>
    [...new Map([...words, ...context.map((word) => t("near", { word }))].map((word) => [word.toLowerCase(), word])).values()].join(", ");
  const sides = [side(row.query_words, row.query_context), side(row.document_words, row.document_context)].filter(Boolean);
  const text = sides[0]?.toLowerCase() === sides[1]?.toLowerCase() ? sides[0] : sides.join("\u00a0→ ");
  return text && text.toLowerCase() !== readable(row.label).replace(/[“”]/g, "").toLowerCase() ? stranger(text, { class: "fired" }) : null;
}

/**
 * The score as one bar, a segment a concept, as long as the score is beside the best one.
 * @param {Row[]} rows
 * @param {Colours} colours
 * @param {number} best score of the first hit
 */
export function scoreBar(rows, colours, best) {
  const bar = h("div", { class: "scorebar", "aria-hidden": "true" });
  let rest = 0;
  for (const row of rows) {
    const slot = colours.of(row.label);
    if (slot) bar.append(setShare(h("span", { "data-slot": slot, title: readable(row.label) }), row.contribution / best));
    else rest += row.contribution;
  }
  if (rest > 0) bar.append(setShare(h("span", { "data-slot": 0 }), rest / best));
  return bar;
}
