// What went wrong, for whoever only wanted to search.

import { ApiError } from "./api.js";
import { t } from "./i18n.js";

/**
 * @param {unknown} error
 * @returns {{title: string, detail: string}}
 */
export function problem(error) {
  if (!(error instanceof ApiError)) throw error; // ours: it belongs in the console
  const { status, detail } = error;
  if (status === 0) return { title: t("noAnswer"), detail: t("noAnswerHint") };
  if (status === 401) return { title: t("keyNeeded"), detail: t("keyHint") };
  if (status === 429) return { title: t("busy"), detail: t("busyHint") };
  if (status === 400 || status === 404) return { title: t("notUnderstood"), detail };
  return { title: t("failed"), detail: detail || `HTTP ${status}` };
}
