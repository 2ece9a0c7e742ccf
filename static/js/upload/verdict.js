// An inspection as people read it. Everything below the verdict comes drawn by the server, as on a submission's page.

import { parse } from '../morph.js';
import { el } from './dom.js';

/** `t(key, values)` gives a sentence. */
export function verdictView(inspection, { t }) {
  const accepted = inspection.verdict === 'accepted';
  const scheme = inspection.scheme ? el('strong', {}, inspection.scheme) : null;
  const format = inspection.format && inspection.format !== 'unknown' ? el('code', {}, inspection.format) : null;
  return el('div', { 'data-verdict': inspection.verdict },
    el('div', { class: 'panel-head' },
      el('span', { class: 'stamp large', 'data-tone': accepted ? 'good' : 'bad' }, t(accepted ? 'up-accepted' : 'up-rejected')),
      scheme, format),
    el('p', { class: 'muted' }, t(accepted ? 'up-accepted-note' : 'up-rejected-note')),
    [...parse(inspection.drawn ?? '').children]);
}

/** What the server found wrong, as a list; `lang` picks its sentences. */
export function problemList(problems, lang, label) {
  const text = (value) => (typeof value === 'string' ? value : value?.[lang] ?? value?.en ?? '');
  return el('ul', { class: 'problems', 'aria-label': label }, problems.map((problem) =>
    el('li', { class: 'problem', 'data-problem': problem.code },
      el('p', { class: 'what' }, text(problem.message)),
      text(problem.fix) ? el('p', { class: 'fix' }, text(problem.fix)) : null,
      el('p', { class: 'where' }, el('code', {}, problem.code), problem.where ? el('code', {}, problem.where) : null))));
}
