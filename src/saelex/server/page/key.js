// The server's key, where it wants one.

import { keepKey } from "./api.js";

/** @returns {Promise<string | null>} null where somebody gives none */
export function askForKey() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("key"));
  const input = /** @type {HTMLInputElement} */ (dialog.querySelector("input"));
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const key = dialog.returnValue === "use" ? input.value.trim() : "";
        if (key) keepKey(key);
        resolve(key || null);
      },
      { once: true },
    );
  });
}
