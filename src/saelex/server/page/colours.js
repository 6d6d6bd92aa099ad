// Which concept has which colour. Eight colours, each with a number and a way of underlining, so that none rests on colour.

const SLOTS = 8;

/** One colour a label, kept while the label is among the eight that contribute most. */
export class Colours {
  constructor() {
    /** @type {Map<string, number>} label -> slot from 1 */
    this.slots = new Map();
  }

  /** For another query. */
  clear() {
    this.slots.clear();
  }

  /**
   * Give the labels that contribute most a colour; those that had one among them keep it.
   * @param {Map<string, number>} totals what each label contributes to all hits shown
   */
  assign(totals) {
    const best = [...totals].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, SLOTS);
    const wanted = new Set(best.map(([label]) => label));
    for (const label of this.slots.keys()) if (!wanted.has(label)) this.slots.delete(label);
    const taken = new Set(this.slots.values());
    let free = 1;
    for (const [label] of best) {
      if (this.slots.has(label)) continue;
      while (taken.has(free)) free += 1;
      taken.add(free);
      this.slots.set(label, free);
    }
  }

  /**
   * The label's colour, 1 to 8; 0 for one without.
   * @param {string} label
   */
  of(label) {
    return this.slots.get(label) ?? 0;
  }
}

/** Lights up one concept wherever it is shown while the pointer or the focus is on it. */
export function lightUp() {
  const root = document.documentElement;
  const light = (/** @type {Event} */ event) => {
    const element = event.target instanceof Element ? event.target.closest("[data-slot]") : null;
    const slot = element?.getAttribute("data-slot");
    if (slot && slot !== "0") root.dataset.lit = slot;
    else delete root.dataset.lit;
  };
  for (const event of ["pointerover", "focusin"]) document.addEventListener(event, light);
  for (const event of ["pointerleave", "focusout"]) document.addEventListener(event, () => delete root.dataset.lit);
}
