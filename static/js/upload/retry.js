// What an answer means for an upload: wait and go on, fetch a new token, or ask a person. No browser in here.

/** Waits between tries, in milliseconds; the last one repeats for as long as it takes. */
const WAITS_MS = [0, 1000, 2000, 4000, 8000, 15000, 30000];
/** Longest wait a server may ask for. */
const MOST_ASKED_MS = 120_000;
/** Answers that say "not now" (408 late, 423 locked, 425 early, 429 too many) or "elsewhere" (409: the offset is another one). */
const NOT_NOW = new Set([408, 409, 423, 425, 429]);
/** Codes that look like "not now" by their status and are not. */
const FINAL = new Map([['submission-sealed', 'sent'], ['quota-reached', 'refused'], ['contest-closed', 'refused'], ['too-many-drafts', 'refused'],
  ['no-team', 'refused'], ['disk-reserve', 'refused'], ['no-contest', 'refused'], ['files-incomplete', 'incomplete'], ['upload-superseded', 'taken']]);

/**
 * Decides by status (0: no answer) and stable code:
 * `wait` ask for the offset again after a while; `token` the token or session is over; `page` the page's form token is over;
 * `smaller` some proxy takes no body of this size; `gone` the server has it no longer; `corrupt` the bytes are not the declared
 * ones; `taken` another browser sends the same file; `sent` it is submitted already; `incomplete` files are missing;
 * `refused` a person must act.
 */
export function decide(status, code = '') {
  if (FINAL.has(code)) return FINAL.get(code);
  if (status === 401) return 'token';
  if (status === 403 && /^csrf-/.test(code)) return 'page';
  if (status === 460 || /sha256-mismatch|checksum/.test(code)) return 'corrupt';
  if (status === 404 || status === 410) return 'gone';
  // Ours names the reason; a proxy's own page does not.
  if (status === 413) return code.startsWith('upload-') ? 'refused' : 'smaller';
  if (status === 0 || status >= 500 || NOT_NOW.has(status)) return 'wait';
  return 'refused';
}

/**
 * How long to wait before try number `tries` (from 1), in milliseconds. `retryAfter` is the header's value in seconds, `chance`
 * in [0, 1) spreads the tries of many browsers over half a wait, so that a server that comes back is not run over.
 */
export function backoff(tries, retryAfter = null, chance = Math.random()) {
  const wait = WAITS_MS[Math.min(Math.max(tries, 1), WAITS_MS.length) - 1];
  const asked = Number(retryAfter);
  const least = retryAfter !== null && Number.isFinite(asked) && asked > 0 ? Math.min(asked * 1000, MOST_ASKED_MS) : 0;
  return Math.round(Math.max(wait * (1 + chance / 2), least));
}
