// Talking to the server: JSON both ways, and its problems as errors that know their code.

/** A refusal by the server, or no answer at all (`status` 0). */
export class Refused extends Error {
  constructor(status, body, retryAfter = null) {
    super(body?.code ?? `http-${status}`);
    this.name = 'Refused';
    this.status = status;
    this.code = body?.code ?? `http-${status}`;
    this.body = body;
    this.retryAfter = retryAfter;
  }

  /** The server's sentence in the page's language, if it sent one. */
  sentence(lang) {
    return this.body?.message?.[lang] ?? this.body?.title ?? null;
  }
}

/** The page's CSRF token. */
export function csrf() {
  return document.querySelector('meta[name="csrf"]')?.content ?? '';
}

/** A page of ours as it is now; `Refused` when it cannot be had, 401 when it asks to log in. */
export async function page(path) {
  let answer;
  try {
    answer = await fetch(path, { credentials: 'same-origin', headers: { accept: 'text/html' } });
  } catch {
    throw new Refused(0, null);
  }
  if (new URL(answer.url).pathname !== path) throw new Refused(401, null);
  if (!answer.ok) throw new Refused(answer.status, null, answer.headers.get('retry-after'));
  return new DOMParser().parseFromString(await answer.text(), 'text/html');
}

/**
 * Takes the form token of the present session: whoever logs in again in another tab has a new one, and this page must stay open.
 * Resolves to whether somebody is logged in.
 */
export async function renewPage() {
  try {
    const token = (await page(location.pathname)).querySelector('meta[name="csrf"]')?.content;
    if (!token) return false;
    document.querySelector('meta[name="csrf"]').content = token;
    return true;
  } catch {
    return false;
  }
}

/**
 * Sends JSON (or GETs when there is none) and reads JSON; anything but 2xx is a `Refused`. With an upload token it is asked in that
 * token's name, else in the session's.
 */
export async function call(path, body, method = body === undefined ? 'GET' : 'POST', token = null) {
  const name = token ? { authorization: `Bearer ${token}` } : { 'x-csrf-token': csrf() };
  let answer;
  try {
    answer = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: { accept: 'application/json', 'content-type': 'application/json', ...name },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, null);
  }
  const json = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, json, answer.headers.get('retry-after'));
  return json;
}
