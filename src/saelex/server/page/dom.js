// Elements are made here. Text is only ever put in as text: documents, labels and names are strangers' words.

/**
 * An element. Attributes that are null or false are left out, true is an empty one; "on" holds listeners.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string | null | false)} children strings become text
 * @returns {any}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== false));
  return element;
}

/**
 * A stranger's text on its own: in whatever direction it runs, what is around it stays as it is.
 * @param {string} text
 * @param {Record<string, any>} [attributes]
 */
export function stranger(text, attributes = {}) {
  return h("bdi", attributes, text);
}

/**
 * A link to a page elsewhere where the address is one of the web (http, https), else the content alone.
 * @param {unknown} address
 * @param {Node} content
 */
export function outwardLink(address, content) {
  const url = typeof address === "string" && /^https?:\/\//i.test(address) ? readUrl(address) : null;
  if (!url) return content;
  return h("a", { href: url.href, rel: "noopener noreferrer nofollow external", target: "_blank" }, content);
}

/** @param {string} address */
function readUrl(address) {
  try {
    return new URL(address);
  } catch {
    return null;
  }
}

/**
 * The width of a bar. Set by script: the server's policy forbids style attributes.
 * @param {HTMLElement} element
 * @param {number} share 0 to 1
 */
export function setShare(element, share) {
  element.style.setProperty("--share", String(Math.min(1, Math.max(0, share))));
  return element;
}

/** @param {string} name of a symbol in index.html */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  svg.append(use);
  return svg;
}

const CONTROLS = "button, a[href], input, select, summary";

/**
 * Remembers which control in a box has the focus; the function returned gives it to the one in its place, where the box
 * was filled anew meanwhile.
 * @param {Element} box
 */
export function keepFocus(box) {
  const active = document.activeElement;
  const place = active && box.contains(active) ? [...box.querySelectorAll(CONTROLS)].indexOf(active) : -1;
  return () => {
    if (place < 0 || document.activeElement === active) return;
    const controls = box.querySelectorAll(CONTROLS);
    const next = controls[Math.min(place, controls.length - 1)];
    if (next instanceof HTMLElement) next.focus({ preventScroll: true });
  };
}
