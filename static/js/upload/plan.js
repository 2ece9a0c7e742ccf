// What must be sent: picked files against what the server has. No browser in here.

/** Files sent at the same time. More only share the same line and make each slower to finish. */
export const AT_ONCE = 3;

/**
 * Compares picked files with a draft's manifest by name, length and, where both sides know it, digest.
 * @param {{name: string, bytes: number, sha256?: string}[]} picked
 * @param {{name: string, bytes: number, sha256?: string}[]} declared
 * @returns {{same: boolean, differ: string[], missing: string[], extra: string[]}} names, in the order given
 */
export function compare(picked, declared) {
  const here = new Map(picked.map((file) => [file.name, file]));
  const there = new Set(declared.map((file) => file.name));
  const differ = [];
  const missing = [];
  for (const file of declared) {
    const own = here.get(file.name);
    if (!own) missing.push(file.name);
    else if (own.bytes !== file.bytes || (own.sha256 && file.sha256 && own.sha256 !== file.sha256)) differ.push(file.name);
  }
  const extra = picked.filter((file) => !there.has(file.name)).map((file) => file.name);
  return { same: differ.length + missing.length + extra.length === 0, differ, missing, extra };
}

/** The draft that these files are of, the one with most bytes on the server first; null when there is none. */
export function findDraft(picked, drafts) {
  const received = (draft) => draft.files.reduce((sum, file) => sum + file.received, 0);
  const same = drafts.filter((draft) => compare(picked, draft.files).same);
  return same.sort((a, b) => received(b) - received(a))[0] ?? null;
}

/** Small files first: they are whole at once, and one large file at the end uses the line as well as several. */
export function sendingOrder(files) {
  return [...files].sort((a, b) => a.bytes - b.bytes || (a.name < b.name ? -1 : 1));
}

/** The next files to begin, given how many run: those that wait, small first. */
export function nextToSend(files, limit = AT_ONCE) {
  const running = files.filter((file) => file.state === 'sending').length;
  return sendingOrder(files.filter((file) => file.state === 'waiting')).slice(0, Math.max(0, limit - running));
}

/** A file as the server describes it, in one shape whatever it leaves out. */
export function place(row) {
  return {
    name: row.name,
    url: row.upload_url,
    bytes: row.bytes ?? null,
    sha256: row.sha256 ?? null,
    received: row.received ?? 0,
    state: row.state ?? 'open',
    origin: row.origin ?? null,
  };
}
