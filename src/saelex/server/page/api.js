// What the server is asked, and what went wrong in words.

import { keep, kept } from "./storage.js";

/** @typedef {import("./marks.js").Mark} Mark */
/**
 * @typedef {object} Row a label's share of a score
 * @property {string} label
 * @property {number[]} latents heaviest first
 * @property {boolean} word
 * @property {number} contribution
 * @property {string[]} query_words
 * @property {string[]} document_words
 * @property {string[]} query_context
 * @property {string[]} document_context
 * @property {string} note
 */
/**
 * @typedef {object} Hit
 * @property {number} rank
 * @property {string} id
 * @property {number} score
 * @property {string} title
 * @property {string} text the best passage
 * @property {string | null} url
 * @property {Record<string, any>} metadata
 * @property {{start: number, end: number}} passage
 * @property {Row[]} explanation
 * @property {Mark[]} query_marks
 * @property {Mark[]} text_marks
 * @property {{text: string, marks: Mark[]}} snippet
 */
/** @typedef {{query: string, hits: Hit[], banned: string[], took_ms: Record<string, number>}} Found */
/** @typedef {{latent: number, label: string, weight: number, words: string[], context: string[], density: number}} Fired */
/** @typedef {{name: string, kinds: string[], values: any[] | null}} Field */
/**
 * @typedef {object} IndexFacts
 * @property {string} name
 * @property {number} documents
 * @property {number} passages
 * @property {number} latents
 * @property {string} encoder
 * @property {boolean} words
 * @property {boolean} labels
 * @property {string[]} label_languages
 * @property {boolean} pruned
 * @property {Field[]} fields
 */

/** What the server, or the way to it, refuses. status: HTTP's; 0 where there was no answer. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   */
  constructor(status, detail) {
    super(detail || `HTTP ${status}`);
    this.status = status;
    this.detail = detail;
  }
}

const KEY = "saelex-key";
const RETRIES = 3; // of a queue that was full
const SNIPPET = 45; // words

/** Asks for the key; gives null where nobody gives one. @type {() => Promise<string | null>} */
let askKey = async () => null;
/** @type {Promise<string | null> | null} */
let asking = null;

/** @param {() => Promise<string | null>} ask */
export function onKeyNeeded(ask) {
  askKey = ask;
}

/**
 * One request. The key is asked for where the server wants one; a full queue is asked again when it says.
 * @param {string} path after "v1/", beside the page whatever prefix a proxy gives it
 * @param {{body?: any, signal?: AbortSignal}} [options]
 */
async function request(path, { body, signal } = {}) {
  for (let tries = 0; ; ) {
    const key = kept(KEY, "sessionStorage");
    const response = await answer(new URL(`v1/${path}`, document.baseURI), {
      method: body === undefined ? "GET" : "POST",
      headers: {
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
    if (response.ok) return response.json();
    if (response.status === 401 && kept(KEY, "sessionStorage") !== key) continue; // somebody has typed it meanwhile
    if (response.status === 401) {
      asking ??= askKey().finally(() => (asking = null));
      if (await asking) continue;
    }
    if (response.status === 429 && tries++ < RETRIES) {
      await pause(1000 * Math.min(5, Number(response.headers.get("Retry-After")) || 1), signal);
      continue;
    }
    throw new ApiError(response.status, await detail(response));
  }
}

/**
 * @param {URL} url
 * @param {RequestInit} options
 */
async function answer(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "");
  }
}

/** @param {Response} response */
async function detail(response) {
  try {
    const problem = await response.json();
    return String(problem.detail ?? problem.title ?? "");
  } catch {
    return "";
  }
}

/**
 * @param {number} ms
 * @param {AbortSignal} [signal]
 */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

/** For this tab alone, until it is closed. @param {string} key */
export function keepKey(key) {
  keep(KEY, key, "sessionStorage");
}

/** @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

const part = encodeURIComponent;

/** @param {Record<string, string | undefined>} values */
function query(values) {
  const given = Object.entries(values).filter(([, value]) => value);
  return new URLSearchParams(/** @type {[string, string][]} */ (given)).toString();
}

export const api = {
  /** @returns {Promise<{indexes: IndexFacts[], version: string}>} */
  indexes: () => request("indexes"),

  /**
   * @param {string} index
   * @param {Record<string, any>} body
   * @param {AbortSignal} signal
   * @returns {Promise<Found>}
   */
  search: (index, body, signal) =>
    request(`${part(index)}/search`, { body: { ...body, explain: true, highlight: SNIPPET }, signal }),

  /**
   * The concepts that fire in a query.
   * @param {string} index
   * @param {string} text
   * @param {string} language
   * @param {AbortSignal} signal
   * @returns {Promise<{concepts: Fired[]}>}
   */
  fired: (index, text, language, signal) =>
    request(`${part(index)}/concepts?${query({ text, side: "query", language })}`, { signal }),

  /**
   * The concepts whose label has these words.
   * @param {string} index
   * @param {string} name
   * @param {AbortSignal} signal
   * @returns {Promise<{concepts: {latent: number, label: string, density: number}[]}>}
   */
  named: (index, name, signal) => request(`${part(index)}/concepts?${query({ name })}`, { signal }),

  /**
   * All that is known of one concept.
   * @param {string} index
   * @param {number} latent
   * @param {string} language
   * @param {AbortSignal} [signal]
   * @returns {Promise<any>}
   */
  concept: (index, latent, language, signal) =>
    request(`${part(index)}/concepts/${latent}?${query({ language })}`, { signal }),

  /**
   * @param {string} index
   * @param {string} id
   * @param {AbortSignal} [signal]
   * @returns {Promise<{id: string, title: string, text: string, url: string | null, metadata: Record<string, any>}>}
   */
  document: (index, id, signal) => request(`${part(index)}/documents/${part(id)}`, { signal }),
};

/**
 * The newest of many questions. A question of another group makes the one under way pointless: it is aborted. One of the
 * same group (a slider that moves on) waits for it, and only the newest that waits is asked: aborting each would show
 * nothing until the slider rests, and a server goes on with what it has begun.
 */
export class Newest {
  constructor() {
    this.group = "";
    /** @type {AbortController | null} */
    this.under = null;
    /** @type {((signal: AbortSignal) => Promise<void>) | null} */
    this.waiting = null;
  }

  /**
   * @param {string} group
   * @param {(signal: AbortSignal) => Promise<void>} ask handles its own errors
   */
  ask(group, ask) {
    if (this.under && group === this.group) {
      this.waiting = ask;
      return;
    }
    this.stop();
    this.group = group;
    void this.run(ask);
  }

  /** Ask nothing any more. */
  stop() {
    this.under?.abort();
    this.under = this.waiting = null;
  }

  /** @param {(signal: AbortSignal) => Promise<void>} ask */
  async run(ask) {
    const own = (this.under = new AbortController());
    await ask(own.signal);
    if (this.under !== own) return;
    const next = this.waiting;
    this.under = this.waiting = null;
    if (next) await this.run(next);
  }
}
