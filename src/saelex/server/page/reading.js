// A whole document, with the passage that was found in it.

import { api } from "./api.js";
import { h, outwardLink, stranger } from "./dom.js";
import { rowConcept } from "./hits.js";
import { t } from "./i18n.js";
import { markedText, sliceCodePoints } from "./marks.js";
import { Sheet } from "./sheet.js";

/** @typedef {import("./api.js").Hit} Hit */

export class DocumentPage {
  /** @param {() => void} closed */
  constructor(closed) {
    this.sheet = new Sheet("document", closed);
  }

  /**
   * @param {string} index
   * @param {string} id
   * @param {Hit | undefined} hit where it is among the hits
   * @param {import("./colours.js").Colours} colours
   */
  async show(index, id, hit, colours) {
    await this.sheet.load(
      [index, id, hit],
      (signal) => api.document(index, id, signal),
      (found) => this.fill(found, hit, colours),
    );
  }

  hide() {
    this.sheet.hide();
  }

  /**
   * @param {Awaited<ReturnType<typeof api.document>>} found
   * @param {Hit | undefined} hit
   * @param {import("./colours.js").Colours} colours
   */
  fill(found, hit, colours) {
    const facts = Object.entries(found.metadata).filter(([name]) => name !== "url");
    this.sheet.fill(
      found.title || found.id,
      h("p", { class: "kicker" }, stranger(found.id)),
      h("h2", {}, outwardLink(found.url, stranger(found.title || found.id))),
      facts.length
        ? h("dl", { class: "facts" }, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, stranger(name)), h("dd", {}, stranger(typeof value === "string" ? value : JSON.stringify(value))))))
        : "",
      h("div", { class: "text whole", dir: "auto" }, ...content(found, hit, colours)),
    );
    this.sheet.content.querySelector(".found")?.scrollIntoView({ block: "nearest" });
  }
}

/**
 * Title and text as the index joins them, around the passage found.
 * @param {{title: string, text: string}} found
 * @param {Hit | undefined} hit
 * @param {import("./colours.js").Colours} colours
 */
function content({ title, text }, hit, colours) {
  const whole = `${title} ${text}`.trim();
  if (!hit || sliceCodePoints(whole, hit.passage.start, hit.passage.end) !== hit.text) return [document.createTextNode(text)];
  const marked = markedText(hit.text, hit.text_marks, (i) => rowConcept(hit, i, colours));
  return [
    document.createTextNode(sliceCodePoints(whole, 0, hit.passage.start)),
    h("span", { class: "found" }, ...marked),
    document.createTextNode(sliceCodePoints(whole, hit.passage.end, Infinity)),
  ];
}
