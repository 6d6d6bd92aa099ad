// All that the page shows is decided by one state, which the address carries after its "#": it can be kept, sent and gone
// back to. What follows "#" never leaves the browser, so no server's log has a query in it.

/**
 * How one column searches.
 * @typedef {object} Settings
 * @property {string} index its name; "" is the first
 * @property {string} mode exact, capped or two_step
 * @property {boolean} words match exact words beside concepts
 * @property {string} labels language of the labels; "" is the query's own
 * @property {Record<string, any>} where filter on metadata
 * @property {Record<string, number>} boost name -> factor
 * @property {string[]} ban names
 * @property {Record<string, number>} add name -> weight
 */

/**
 * @typedef {object} State
 * @property {string} q the query
 * @property {number} k hits wanted
 * @property {Settings[]} columns one, or two to compare
 * @property {{latent: number, column: number} | null} concept whose page is open
 * @property {{id: string, column: number} | null} read the document that is open
 * @property {string} lang of the page; "" is the browser's
 * @property {string} theme light, dark; "" is the system's
 */

export const K = 10;
/** Hits that the server gives reasons for at once. */
export const MOST = 100;
export const MODES = ["exact", "capped", "two_step"];
const PREFIXES = ["", "b."];

/** @param {Settings} settings */
export function isSteered(settings) {
  return settings.ban.length + Object.keys(settings.boost).length + Object.keys(settings.add).length > 0;
}

/**
 * What an address says; what cannot be read in it is as if it were not there.
 * @param {string} hash with or without "#"
 * @returns {State}
 */
function readAddress(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const k = Number(given.get("k"));
  const columns = given.has("compare") ? PREFIXES : PREFIXES.slice(0, 1);
  return {
    q: given.get("q") ?? "",
    k: Number.isInteger(k) && k >= 1 && k <= MOST ? k : K,
    columns: columns.map((prefix) => readSettings(given, prefix)),
    concept: readConcept(given),
    read: readDocument(given),
    lang: given.get("lang") ?? "",
    theme: ["light", "dark"].includes(given.get("theme") ?? "") ? (given.get("theme") ?? "") : "",
  };
}

/**
 * The address's part after "#". Only what is not as usual is in it.
 * @param {State} state
 */
function writeAddress(state) {
  const out = new URLSearchParams();
  if (state.q) out.set("q", state.q);
  if (state.k !== K) out.set("k", String(state.k));
  state.columns.forEach((settings, i) => writeSettings(out, PREFIXES[i], settings));
  if (state.columns.length > 1) out.set("compare", "1");
  if (state.concept) {
    out.set("concept", String(state.concept.latent));
    if (state.concept.column) out.set("in", "b");
  }
  if (state.read) {
    out.set("read", state.read.id);
    if (state.read.column) out.set("read.in", "b");
  }
  if (state.lang) out.set("lang", state.lang);
  if (state.theme) out.set("theme", state.theme);
  return out.toString();
}

/**
 * @param {URLSearchParams} given
 * @param {string} prefix
 * @returns {Settings}
 */
function readSettings(given, prefix) {
  const mode = given.get(`${prefix}mode`) ?? "exact";
  return {
    index: given.get(`${prefix}index`) ?? "",
    mode: MODES.includes(mode) ? mode : "exact",
    words: given.get(`${prefix}words`) !== "0",
    labels: given.get(`${prefix}labels`) ?? "",
    where: readWhere(given.get(`${prefix}where`)),
    boost: readNumbers(given.getAll(`${prefix}boost`), 2),
    ban: [...new Set(given.getAll(`${prefix}ban`).filter((name) => name.trim()))],
    add: readNumbers(given.getAll(`${prefix}add`), 1),
  };
}

/**
 * @param {URLSearchParams} out
 * @param {string} prefix
 * @param {Settings} settings
 */
function writeSettings(out, prefix, settings) {
  if (settings.index) out.set(`${prefix}index`, settings.index);
  if (settings.mode !== "exact") out.set(`${prefix}mode`, settings.mode);
  if (!settings.words) out.set(`${prefix}words`, "0");
  if (settings.labels) out.set(`${prefix}labels`, settings.labels);
  if (Object.keys(settings.where).length) out.set(`${prefix}where`, JSON.stringify(settings.where));
  for (const text of numbered(settings.boost)) out.append(`${prefix}boost`, text);
  for (const name of settings.ban) out.append(`${prefix}ban`, name);
  for (const text of numbered(settings.add)) out.append(`${prefix}add`, text);
}

/**
 * "4711=2" of every name and number: as the server, the command line and the address have it.
 * @param {Record<string, number>} numbers
 */
export function numbered(numbers) {
  return Object.entries(numbers).map(([name, number]) => `${name}=${number}`);
}

/**
 * @param {string[]} texts
 * @param {number} usual
 */
function readNumbers(texts, usual) {
  /** @type {Record<string, number>} */
  const found = {};
  for (const text of texts) {
    const equals = text.lastIndexOf("=");
    const name = (equals < 0 ? text : text.slice(0, equals)).trim();
    const number = equals < 0 ? usual : Number(text.slice(equals + 1));
    if (name && Number.isFinite(number) && number > 0) found[name] = number;
  }
  return found;
}

/** @param {string | null} text */
function readWhere(text) {
  try {
    const where = JSON.parse(text ?? "{}");
    return where && typeof where === "object" && !Array.isArray(where) ? where : {};
  } catch {
    return {};
  }
}

/** @param {URLSearchParams} given */
function readConcept(given) {
  const latent = given.get("concept") ?? "";
  return /^\d{1,9}$/.test(latent) ? { latent: Number(latent), column: given.get("in") === "b" ? 1 : 0 } : null;
}

/** @param {URLSearchParams} given */
function readDocument(given) {
  const id = given.get("read");
  return id ? { id, column: given.get("read.in") === "b" ? 1 : 0 } : null;
}

/** The state, its address, and who wants to know when it changes (told once a frame). */
export class Store {
  constructor() {
    this.state = readAddress(location.hash);
    /** @type {((state: State) => void)[]} */
    this.listeners = [];
    this.pending = false;
    addEventListener("popstate", () => {
      this.state = readAddress(location.hash);
      this.tell();
    });
  }

  /**
   * Change something. step: a new entry to go back from; else what is there is replaced, or, "later", left alone until
   * the next change (a slider that is still moved).
   * @param {Partial<State>} change
   * @param {"step" | "replace" | "later"} [entry]
   */
  set(change, entry = "step") {
    this.state = { ...this.state, ...change };
    const hash = writeAddress(this.state);
    if (entry !== "later" && hash !== location.hash.slice(1)) {
      const address = hash ? `#${hash}` : location.pathname + location.search;
      history[entry === "step" ? "pushState" : "replaceState"](null, "", address);
    }
    this.tell();
  }

  /**
   * Change the settings of one column.
   * @param {number} column
   * @param {Partial<Settings>} change
   * @param {"step" | "replace" | "later"} [entry]
   */
  setColumn(column, change, entry = "step") {
    const columns = this.state.columns.map((own, i) => (i === column ? { ...own, ...change } : own));
    this.set({ columns }, entry);
  }

  tell() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const listener of this.listeners) listener(this.state);
    });
  }
}
