// Talking to the server: JSON both ways, and its problems as errors that know their code.

/** A refusal by the server, or no answer at all (`status` 0). */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.code ?? `http-${status}`);
    this.name = 'Refused';
    this.status = status;
    this.code = body?.code ?? `http-${status}`;
    this.body = body;
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

/** Sends JSON (or GETs when there is none) and reads JSON; anything but 2xx is a `Refused`. */
export async function call(path, body, method = body === undefined ? 'GET' : 'POST') {
  let answer;
  try {
    answer = await fetch(path, {
      method,
      credentials: 'same-origin',
      headers: { accept: 'application/json', 'content-type': 'application/json', 'x-csrf-token': csrf() },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Refused(0, null);
  }
  const json = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, json);
  return json;
}
