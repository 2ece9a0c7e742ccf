// An inspection as people read it: verdict, problems with their fixes, exact weight, hints.

import { el, svg } from './dom.js';
import { grouped, percent, size } from './format.js';

/** `t(key, values)` gives a sentence, `lang` picks the server's. */
export function verdictView(inspection, { t, lang, baseBytes }) {
  const accepted = inspection.verdict === 'accepted';
  const part = (...children) => el('section', { class: 'panel-part' }, ...children);
  const scheme = inspection.scheme ? el('strong', {}, inspection.scheme) : null;
  const format = inspection.format ? el('code', {}, inspection.format) : null;
  const view = el('div', { 'data-verdict': inspection.verdict },
    el('div', { class: 'panel-head' },
      el('span', { class: 'stamp large', 'data-tone': accepted ? 'good' : 'bad' }, t(accepted ? 'up-accepted' : 'up-rejected')),
      scheme, format),
    el('p', { class: 'muted' }, t(accepted ? 'up-accepted-note' : 'up-rejected-note')));
  if (inspection.problems?.length) view.append(part(problemList(inspection.problems, lang, t('up-problems'))));
  if (inspection.bytes?.total > 0) view.append(part(weight(inspection.bytes, t, baseBytes, hints(inspection.hints ?? [], t, lang))));
  if (inspection.findings?.length) {
    view.append(part(el('h3', {}, t('up-findings')), problemList(inspection.findings, lang, t('up-findings'), 'finding')));
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

function weight(bytes, t, baseBytes, hints) {
  const whole = Math.max(bytes.total, baseBytes ?? 0);
  const name = (group) => t(`up-group-${group.name.replaceAll('_', '-')}`) ?? group.name;
  const groups = bytes.groups.filter((group) => group.bytes > 0);
  let begin = 0;
  const pieces = groups.map((group) => {
    const x = (begin / whole) * 1000;
    begin += group.bytes;
    return svg('rect', { class: `g g-${group.name}`, x: x.toFixed(3), y: 0, width: ((group.bytes / whole) * 1000).toFixed(3), height: 36 },
      svg('title', {}, `${name(group)}: ${size(group.bytes)} (${percent(group.bytes, bytes.total)})`));
  });
  return el('div', {},
    el('p', { class: 'weighed' },
      el('strong', {}, size(bytes.total)),
      el('span', { 'data-bytes': bytes.total }, t('up-bytes', { bytes: grouped(bytes.total) })),
      baseBytes ? el('span', { class: 'muted' }, t('up-of-base', { percent: percent(bytes.total, baseBytes) })) : null),
    svg('svg', { class: 'touchstone', viewBox: '0 0 1000 36', preserveAspectRatio: 'none', role: 'img', 'aria-label': t('up-weight') }, ...pieces),
    el('p', { class: 'scale' }, el('span', {}, '0'), el('span', {}, baseBytes ? t('up-scale-base', { size: size(baseBytes) }) : size(bytes.total))),
    hints,
    el('table', { class: 'groups' },
      el('thead', {}, el('tr', {},
        el('th', { scope: 'col' }, t('up-group')), el('th', { scope: 'col', class: 'num' }, t('up-group-bytes')), el('th', { scope: 'col', class: 'num' }, t('up-group-share')))),
      el('tbody', {}, groups.map((group) => el('tr', {},
        el('th', { scope: 'row' }, el('span', { class: `swatch g g-${group.name}` }), name(group)),
        el('td', { class: 'num' }, grouped(group.bytes)), el('td', { class: 'num' }, percent(group.bytes, bytes.total))))),
      el('tfoot', {}, el('tr', {},
        el('th', { scope: 'row' }, t('up-total')), el('td', { class: 'num' }, grouped(bytes.total)), el('td', { class: 'num' }, '100.0 %')))));
}

function hints(list, t, lang) {
  if (!list.length) return null;
  return el('ul', { class: 'hints', 'aria-label': t('up-hints') }, list.map((hint) =>
    el('li', { 'data-hint': hint.code }, el('b', {}, `−${size(hint.saves)}`), el('span', {}, hint.message?.[lang] ?? hint.message?.en ?? hint.code))));
}
