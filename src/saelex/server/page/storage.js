// What the browser keeps: choices for the next visit, the key for this tab. Where it keeps nothing, they last as long as the
// page.

/** @type {Map<string, string>} */
const here = new Map();

/**
 * @param {string} name
 * @param {"localStorage" | "sessionStorage"} where
 */
export function kept(name, where = "localStorage") {
  try {
    return window[where].getItem(name) ?? "";
  } catch {
    return here.get(name) ?? "";
  }
}

/**
 * @param {string} name
 * @param {string} value
 * @param {"localStorage" | "sessionStorage"} where
 */
export function keep(name, value, where = "localStorage") {
  here.set(name, value);
  try {
    window[where].setItem(name, value);
  } catch {
    // the browser keeps nothing; the page does
  }
}
