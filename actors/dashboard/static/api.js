/**
 * Asking the server. Addresses are relative, so the page works under any prefix.
 * What goes wrong is an ApiError, whose text is fit to be shown.
 */
import { heard } from "./time.js";

/** What the server refused, or that it could not be reached (`code` "unreachable"). */
export class ApiError extends Error {
  constructor(status, code, text) {
    super(text);
    this.status = status;
    this.code = code;
  }
}

/** The address of a route, with its parameters; those that are null are left out. */
export function address(path, params = {}) {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  url.search = "";
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) {
      if (one !== null && one !== undefined) url.searchParams.append(name, one);
    }
  }
  return url.href;
}

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "the server does not answer");
  }
  heard(answer.headers.get("date"));
  let body;
  try {
    body = await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(answer.status, "unreadable", `the answer is no JSON (${answer.status})`);
  }
  if (answer.ok) return body;
  const { code = "unknown", text = `refused (${answer.status})` } = body.error ?? {};
  throw new ApiError(answer.status, code, text);
}

/** Read a route. */
export const read = (path, params, signal) => answered(address(path, params), { signal });

/** Have something done to a runtime; its report. */
export function act(body) {
  return answered(address("api/act"), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}
