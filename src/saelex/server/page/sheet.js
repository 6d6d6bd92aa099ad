// A sheet over the page: a dialog that the address opens and closes.

import { isAbort } from "./api.js";
import { h, icon } from "./dom.js";
import { t } from "./i18n.js";
import { problem } from "./problems.js";

export class Sheet {
  /**
   * @param {string} name class of its own
   * @param {() => void} closed somebody closes it
   */
  constructor(name, closed) {
    this.key = "";
    this.asked = new AbortController();
    this.content = h("div", { class: "content" });
    this.close = h("button", { type: "button", class: "round close", on: { click: () => closed() } }, icon("close"));
    this.element = h("dialog", { class: `sheet ${name}`, "aria-busy": "false" }, this.close, this.content);
    this.element.addEventListener("cancel", (/** @type {Event} */ event) => {
      event.preventDefault();
      closed();
    });
    this.element.addEventListener("click", (/** @type {Event} */ event) => event.target === this.element && closed());
    document.body.append(this.element);
  }

  show() {
    this.close.setAttribute("aria-label", t("close"));
    this.close.title = t("close");
    if (!this.element.open) this.element.showModal();
  }

  hide() {
    this.key = "";
    this.asked.abort();
    if (this.element.open) this.element.close();
  }

  /**
   * Show what the server says, unless it is there already; what was asked before is given up.
   * @template T
   * @param {unknown[]} shown all that decides what is to be seen
   * @param {(signal: AbortSignal) => Promise<T>} ask
   * @param {(answer: T) => void} fill
   */
  async load(shown, ask, fill) {
    const key = JSON.stringify([...shown, t("close")]);
    this.show();
    if (key === this.key) return;
    this.key = key;
    this.asked.abort();
    this.asked = new AbortController();
    this.busy(true);
    try {
      fill(await ask(this.asked.signal));
    } catch (error) {
      if (isAbort(error)) return;
      this.key = "";
      const { title, detail } = problem(error);
      this.fail(title, detail, () => void this.load(shown, ask, fill));
    }
    this.busy(false);
  }

  /**
   * @param {string} label
   * @param {...Node} nodes
   */
  fill(label, ...nodes) {
    this.element.setAttribute("aria-label", label);
    this.content.replaceChildren(...nodes);
    this.element.scrollTop = 0;
    const heading = this.content.querySelector("h2");
    heading?.setAttribute("tabindex", "-1");
    heading?.focus();
  }

  /** @param {boolean} busy */
  busy(busy) {
    this.element.setAttribute("aria-busy", String(busy));
  }

  /**
   * What went wrong, and a way to try again.
   * @param {string} title
   * @param {string} detail
   * @param {() => void} again
   */
  fail(title, detail, again) {
    const button = h("button", { type: "button", class: "button", on: { click: again } }, t("again"));
    this.fill(title, h("div", { class: "notice", role: "alert" }, h("h2", {}, title), h("p", {}, detail), button));
  }
}
