// An inspection as people read it: verdict, problems with their fixes, findings. The weight comes drawn by the server, as on a
// submission's page.

import { parse } from '../morph.js';
import { el } from './dom.js';

/** `t(key, values)` gives a sentence, `lang` picks the server's. */
export function verdictView(inspection, { t, lang }) {
  const accepted = inspection.verdict === 'accepted';
  const part = (...children) => el('section', { class: 'panel-part' }, ...children);
  const scheme = inspection.scheme ? el('strong', {}, inspection.scheme) : null;
  const format = inspection.format && inspection.format !== 'unknown' ? el('code', {}, inspection.format) : null;
  const view = el('div', { 'data-verdict': inspection.verdict },
    el('div', { class: 'panel-head' },
      el('span', { class: 'stamp large', 'data-tone': accepted ? 'good' : 'bad' }, t(accepted ? 'up-accepted' : 'up-rejected')),
      scheme, format),
    el('p', { class: 'muted' }, t(accepted ? 'up-accepted-note' : 'up-rejected-note')));
  if (inspection.problems?.length) view.append(part(problemList(inspection.problems, lang, t('up-problems'))));
  if (inspection.drawn) view.append(part([...parse(inspection.drawn).childNodes]));
  if (inspection.findings?.length) {
    view.append(part(el('h2', {}, t('up-findings')), problemList(inspection.findings, lang, t('up-findings'), 'finding')));
  }
  return view;
}

/** Problems or findings. */
export function problemList(problems, lang, label, kind = '') {
  const text = (value) => (typeof value === 'string' ? value : value?.[lang] ?? value?.en ?? '');
  return el('ul', { class: 'problems', 'aria-label': label }, problems.map((problem) =>
    el('li', { class: `problem ${kind}`, 'data-problem': problem.code },
      el('p', { class: 'what' }, text(problem.message)),
      text(problem.fix) ? el('p', { class: 'fix' }, text(problem.fix)) : null,
      el('p', { class: 'where' }, el('code', {}, problem.code), problem.where ? el('code', {}, problem.where) : null))));
}
