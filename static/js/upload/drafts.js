// The team's unfinished uploads, as the page of new submissions lists them.

import { page } from './api.js';

/** The drafts that a page (this one, or a newer copy) names: `{id, title, files: [{name, bytes, received, sha256, state}]}`. */
export function readDrafts(root) {
  return [...root.querySelectorAll('[data-draft]')].map((element) => ({
    id: element.dataset.draft,
    title: element.dataset.title ?? '',
    files: JSON.parse(element.dataset.files),
    element,
  }));
}

/** The drafts there are now: another tab, a teammate or a request whose answer was lost may have made one. */
export async function presentDrafts() {
  return readDrafts(await page('/submissions/new'));
}
