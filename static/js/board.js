// A board that keeps itself up to date: by the server's events where there are some, else by asking whether it has changed.

import { refreshRegion, whileVisible } from './refresh.js';

const POLL_SECONDS = 15;
const SPREAD_MS = 1500;
const board = document.getElementById('board');

if (board?.dataset.events) {
  const source = new EventSource(board.dataset.events);
  // Everyone who looks hears of a change at the same moment; asking at once would be hundreds of pages in one instant.
  let waiting = null;
  source.addEventListener('board', ({ lastEventId }) => {
    if (waiting || lastEventId === board.dataset.digest) return;
    waiting = setTimeout(() => {
      waiting = null;
      refreshRegion('board').catch(() => {});
    }, Math.random() * SPREAD_MS);
  });
} else if (board) {
  let tag = null;
  whileVisible(POLL_SECONDS, async () => {
    // The address with an entity tag answers 304 without computing anything; only a change reads the page.
    const answer = await fetch('/api/v1/board', { cache: 'no-store', headers: tag ? { 'if-none-match': tag } : {} });
    if (answer.status === 304) return;
    if (!answer.ok) throw new Error(`board: ${answer.status}`);
    const present = answer.headers.get('etag') ?? (await answer.text());
    if (present === tag) return;
    await refreshRegion('board');
    tag = answer.headers.get('etag');
  });
}
