// An inspection as people read it: verdict, problems with their fixes, exact weight, hints.

import { el, svg } from './dom.js';
import { grouped, percent, size } from './format.js';
import { treemap } from './treemap.js';

/** Width of the map on a wide screen and on a phone, and its height, in pixels: what decides which boxes have room for words. */
const WIDE_PX = 860;
const NARROW_PX = 350;
const HIGH_PX = 240;

/** `t(key, values)` gives a sentence, `lang` picks the server's. */
export function verdictView(inspection, { t, lang, baseBytes }) {
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
  if (inspection.bytes?.total > 0) view.append(part(weight(inspection.bytes, t, baseBytes, hints(inspection.hints ?? [], inspection.bytes.total, t, lang))));
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

function weight(bytes, t, baseBytes, hints) {
  const name = (group) => t(`up-group-${group.name.replaceAll('_', '-')}`) ?? group.name;
  const groups = bytes.groups.filter((group) => group.bytes > 0);
  return el('div', {},
    el('p', { class: 'weighed' },
      el('strong', {}, size(bytes.total)),
      el('span', { 'data-bytes': bytes.total }, t('up-bytes', { bytes: grouped(bytes.total) })),
      baseBytes ? el('span', { class: 'muted' }, t('up-of-base', { percent: percent(bytes.total, baseBytes) })) : null),
    map(groups, bytes.total, baseBytes, name, t),
    hints,
    el('div', { class: 'scroll-x', role: 'region', 'aria-label': t('up-weight'), tabindex: '0' }, el('table', { class: 'groups' },
      el('thead', {}, el('tr', {},
        el('th', { scope: 'col' }, t('up-group')), el('th', { scope: 'col', class: 'num' }, t('up-group-bytes')), el('th', { scope: 'col', class: 'num' }, t('up-group-share')))),
      el('tbody', {}, groups.map((group) => el('tr', {},
        el('th', { scope: 'row' }, el('span', { class: `swatch g g-${group.name}` }), name(group)),
        el('td', { class: 'num' }, grouped(group.bytes)), el('td', { class: 'num' }, percent(group.bytes, bytes.total))))),
      el('tfoot', {}, el('tr', {},
        el('th', { scope: 'row' }, t('up-total')), el('td', { class: 'num' }, grouped(bytes.total)), el('td', { class: 'num' }, '100.0 %'))))));
}

/** The weight as areas. The frame is the base model where that is the larger: what is left empty in it was saved. */
function map(groups, total, baseBytes, name, t) {
  const whole = Math.max(total, baseBytes ?? 0);
  const share = (total / whole) * 100;
  const largestFirst = [...groups].sort((a, b) => b.bytes - a.bytes);
  const boxes = treemap(largestFirst, { x: 0, y: 0, width: share, height: 100 }, WIDE_PX / HIGH_PX).map(({ item, x, y, width, height }) =>
    box(`g-${item.name}`, { x, y, width, height }, name(item), `${size(item.bytes)} · ${percent(item.bytes, total)}`));
  const saved = whole - total;
  const empty = saved / whole > 0.02
    ? box('saved', { x: share, y: 0, width: 100 - share, height: 100 }, t('up-saved'), `${size(saved)} · ${percent(saved, whole)}`)
    : null;
  return el('figure', {},
    svg('svg', { class: 'treemap', role: 'img', 'aria-label': t('up-weight-map') }, ...boxes, empty),
    baseBytes ? el('figcaption', { class: 'scale' }, t(total <= baseBytes ? 'up-map-base' : 'up-map-own', { size: size(baseBytes) })) : null);
}

/** Boxes are placed in percent, so that words keep their size on every screen; those too small for words have a tooltip. */
function box(kind, { x, y, width, height }, label, figure) {
  const wide = [(width / 100) * WIDE_PX, (width / 100) * NARROW_PX];
  const high = (height / 100) * HIGH_PX;
  const room = wide[1] >= 84 ? '' : wide[0] >= 100 ? ' wide-only' : null;
  const words = room === null || high < 24 ? [] : [svg('text', { x: 9, y: 20, class: `name${room}` }, label)];
  if (words.length && high >= 44 && wide[0] >= 150) words.push(svg('text', { x: 9, y: 38, class: wide[1] >= 130 ? '' : 'wide-only' }, figure));
  const at = (value) => `${value.toFixed(3)}%`;
  return svg('svg', { x: at(x), y: at(y), width: at(width), height: at(height), class: 'box' },
    svg('rect', { class: `g ${kind}`, width: '100%', height: '100%' }), svg('title', {}, `${label}: ${figure}`), ...words);
}

function hints(list, total, t, lang) {
  if (!list.length) return null;
  const most = [...list].sort((a, b) => b.saves - a.saves);
  return el('div', {}, el('h2', {}, t('up-hints')), el('ul', { class: 'hints', 'aria-label': t('up-hints') }, most.map((hint) =>
    el('li', { 'data-hint': hint.code, 'data-saves': hint.saves },
      el('b', {}, `−${size(hint.saves)}`, el('small', {}, `−${percent(hint.saves, total)}`)),
      el('span', {}, hint.message?.[lang] ?? hint.message?.en ?? hint.code)))));
}
