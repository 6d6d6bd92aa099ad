// The same search on the command line and in Python, to be copied.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { K, numbered } from "./state.js";

/** @typedef {import("./state.js").Settings} Settings */
/** @typedef {{q: string, k: number, index: string, settings: Settings}} Search */

/**
 * The `saelex search` line; null where it cannot say the same: a filter of several values is Python's alone.
 * @param {Search} search
 */
export function commandLine({ q, k, index, settings }) {
  const conditions = Object.entries(settings.where).flatMap(([field, value]) => condition(field, value));
  if (conditions.includes(null)) return null;
  const options = [
    "--explain",
    ...(k === K ? [] : ["-k", String(k)]),
    ...(settings.mode === "exact" ? [] : ["--mode", settings.mode]),
    ...(settings.words ? [] : ["--no-words"]),
    ...(settings.labels ? ["--language", settings.labels] : []),
    ...numbered(settings.boost).flatMap((text) => option("--boost", text)),
    ...settings.ban.flatMap((text) => option("--ban", text)),
    ...numbered(settings.add).flatMap((text) => option("--add", text)),
    ...conditions.flatMap((text) => option("--where", /** @type {string} */ (text))),
  ];
  const last = q.startsWith("-") || index.startsWith("-") ? [...options, "--", index, q] : [index, q, ...options];
  return ["saelex", "search", ...last.map(shell)].join(" ");
}

/** A value that begins with a dash is joined to its option. @param {string} name @param {string} text */
function option(name, text) {
  return text.startsWith("-") ? [`${name}=${text}`] : [name, text];
}

/** @param {string} text */
function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * A field's filter as the command line takes it; null for what it cannot take.
 * @param {string} field
 * @param {any} value
 * @returns {(string | null)[]}
 */
function condition(field, value) {
  if (/[<>=!]/.test(field) || field !== field.trim() || Array.isArray(value)) return [null];
  const tests = value !== null && typeof value === "object" ? Object.entries(value) : [["=", value]];
  return tests.map(([sign, bound]) => (/^(=|!=|<=?|>=?)$/.test(sign) && !isNested(bound) ? `${field}${sign}${written(bound)}` : null));
}

/** @param {any} value */
function isNested(value) {
  return value !== null && typeof value === "object";
}

/** A text that would be read as a number, as true or as null is quoted. @param {any} value */
function written(value) {
  if (typeof value !== "string") return JSON.stringify(value);
  try {
    JSON.parse(value);
  } catch {
    return value !== value.trim() || value === "NaN" || value.endsWith("Infinity") ? JSON.stringify(value) : value;
  }
  return JSON.stringify(value);
}

/**
 * The same as a few lines of Python.
 * @param {Search} search
 */
function pythonLines({ q, k, index, settings }) {
  /** @type {[string, any][]} */
  const options = [
    ["mode", settings.mode === "exact" ? null : settings.mode],
    ["words", settings.words ? null : false],
    ["language", settings.labels || null],
    ["boost", numbered(settings.boost)],
    ["ban", settings.ban],
    ["add", numbered(settings.add)],
    ["where", settings.where],
  ];
  const given = options.filter(([, value]) => value !== null && !(typeof value === "object" && !Object.keys(value).length));
  const call = [python(q), `k=${k}`, ...given.map(([name, value]) => `${name}=${python(value)}`)].join(", ");
  return [
    "from saelex import Index",
    "",
    `index = Index.open(${python(index)})`,
    `for hit in index.search(${call}):`,
    '    print(f"{hit.rank}  {hit.score:.3f}  {hit.document.title or hit.id}")',
    "    print(hit.explain())",
  ].join("\n");
}

/** @param {any} value @returns {string} */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([key, own]) => `${python(key)}: ${python(own)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/**
 * Both, each with a button that copies it.
 * @param {Search} search
 * @param {(text: string) => void} say
 */
export function copyBlocks(search, say) {
  const block = (/** @type {string} */ title, /** @type {string | null} */ text, /** @type {string} */ kind) => {
    if (text === null) return h("section", {}, h("h3", {}, title), h("p", { class: "hint" }, t("notOnCommandLine")));
    const code = h("pre", { tabindex: 0, class: kind, "aria-label": title }, text);
    const copy = h("button", { type: "button", class: "button", on: { click: async () => say(t((await copied(text, code)) ? "copied" : "copyByHand")) } }, t("copy"));
    return h("section", {}, h("div", { class: "titled" }, h("h3", {}, title), copy), code);
  };
  return [
    block(t("commandLine"), commandLine(search), "command"),
    block("Python", pythonLines(search), "python"),
    h("p", { class: "hint" }, t("copyHint", { index: search.index })),
  ];
}

/**
 * Copies; where the browser does not allow it, the text is left selected. Gives whether it was copied.
 * @param {string} text
 * @param {HTMLElement} code
 */
async function copied(text, code) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(code);
    return false;
  }
}
