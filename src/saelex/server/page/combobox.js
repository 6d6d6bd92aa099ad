// A field that suggests while somebody types: the combobox of the ARIA practices, with a list below.

import { isAbort } from "./api.js";
import { h, stranger } from "./dom.js";
import { t } from "./i18n.js";

/** @typedef {{value: number, label: string, note: string}} Suggestion */

const REST = 120; // ms without a key before anything is asked

export class Combobox {
  /**
   * @param {object} options
   * @param {string} options.id
   * @param {(text: string, signal: AbortSignal) => Promise<Suggestion[]>} options.find
   * @param {(chosen: Suggestion) => void} options.choose
   */
  constructor({ id, find, choose }) {
    this.id = id;
    this.find = find;
    this.choose = choose;
    this.label = h("label", { for: id });
    this.list = h("ul", { id: `${id}-list`, role: "listbox", hidden: true });
    this.note = h("p", { class: "note", role: "status" });
    this.input = h("input", {
      id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", "aria-autocomplete": "list",
      "aria-expanded": "false", "aria-controls": `${id}-list`,
      on: {
        input: () => this.later(),
        keydown: (/** @type {KeyboardEvent} */ event) => this.key(event),
        blur: () => this.close(),
      },
    });
    this.element = h("div", { class: "combobox" }, this.label, this.input, this.list, this.note);
    /** @type {Suggestion[]} */
    this.found = [];
    this.at = -1;
    this.timer = 0;
    this.asked = new AbortController();
  }

  /**
   * @param {string} label
   * @param {string} placeholder
   */
  translate(label, placeholder) {
    this.label.textContent = label;
    this.list.setAttribute("aria-label", label);
    this.input.placeholder = placeholder;
  }

  later() {
    clearTimeout(this.timer);
    this.asked.abort();
    this.note.textContent = "";
    const text = this.input.value.trim();
    if (!text) return this.close();
    this.timer = window.setTimeout(() => void this.ask(text), REST);
  }

  /** @param {string} text */
  async ask(text) {
    this.asked = new AbortController();
    try {
      this.show(await this.find(text, this.asked.signal));
    } catch (error) {
      if (isAbort(error)) return;
      this.close();
      this.note.textContent = error instanceof Error && error.message ? error.message : t("failed");
    }
  }

  /** @param {Suggestion[]} found */
  show(found) {
    this.found = found;
    this.at = -1;
    this.list.replaceChildren(
      ...found.map((one, i) =>
        h(
          "li",
          { id: `${this.id}-${i}`, role: "option", "aria-selected": "false", on: { pointerdown: (/** @type {Event} */ event) => this.take(event, i) } },
          stranger(one.label),
          h("span", { class: "note" }, `#${one.value} · ${one.note}`),
        ),
      ),
    );
    this.list.hidden = !found.length;
    this.input.setAttribute("aria-expanded", String(found.length > 0));
    this.input.removeAttribute("aria-activedescendant");
    this.note.textContent = found.length ? "" : t("noConcept");
  }

  close() {
    clearTimeout(this.timer);
    this.asked.abort();
    this.found = [];
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing) return;
    if (event.key === "Escape" && this.found.length) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    } else if (event.key === "Enter" && this.found.length) {
      this.take(event, Math.max(0, this.at));
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && this.found.length) {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      this.mark((this.at + step + this.found.length + (this.at < 0 && step < 0 ? 1 : 0)) % this.found.length);
    }
  }

  /** @param {number} at */
  mark(at) {
    this.at = at;
    [...this.list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === at)));
    this.list.children[at].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", `${this.id}-${at}`);
  }

  /**
   * @param {Event} event
   * @param {number} i
   */
  take(event, i) {
    event.preventDefault();
    const chosen = this.found[i];
    this.input.value = "";
    this.close();
    this.choose(chosen);
  }
}
