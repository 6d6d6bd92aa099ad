// Keys: "/" to the search box, j and k through the hits. Menus close with Escape or a click beside them.

/** @param {HTMLInputElement} input */
export function shortcuts(input) {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return closeMenus(null);
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "/") {
      event.preventDefault();
      input.select();
    } else if (event.key === "j" || event.key === "k") {
      toHit(event.key === "j" ? 1 : -1);
    }
  });
  document.addEventListener("pointerdown", (event) => closeMenus(event.target));
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input:not([type=range], [type=checkbox]), textarea, select");
}

/** @param {number} step */
function toHit(step) {
  const hits = [...document.querySelectorAll(".hit")];
  const at = hits.findIndex((hit) => hit.contains(document.activeElement));
  const next = hits[Math.max(0, Math.min(hits.length - 1, at + step))];
  if (!(next instanceof HTMLElement)) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

/** Close every open menu but the one that was clicked in. @param {EventTarget | null} target */
function closeMenus(target) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (target instanceof Node && menu.contains(target)) continue;
    const held = menu.contains(document.activeElement);
    menu.removeAttribute("open");
    if (held && !target) menu.querySelector("summary")?.focus();
  }
}
