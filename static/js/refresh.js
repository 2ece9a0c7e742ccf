// Keeps a region of a server-rendered page up to date by reading the page again.

import { morph } from './morph.js';

/** Reads a page again (this one, unless told otherwise) and makes `#id` equal to what the server now says. */
export async function refreshRegion(id, address = location.href) {
  const answer = await fetch(address, { headers: { accept: 'text/html' }, credentials: 'same-origin' });
  if (!answer.ok || answer.redirected) return;
  const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
  const [from, to] = [document.getElementById(id), page.getElementById(id)];
  if (from && to) morph(from, to);
}

/** Calls `work` every `seconds` while the page is looked at; a failure only makes the next one wait longer. */
export function whileVisible(seconds, work) {
  let wait = seconds;
  let timer;
  const again = () => { clearTimeout(timer); timer = setTimeout(turn, wait * 1000); };
  const turn = async () => {
    if (document.hidden) return;
    try {
      await work();
      wait = seconds;
    } catch {
      wait = Math.min(wait * 2, 300);
    }
    again();
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) turn(); });
  again();
}
