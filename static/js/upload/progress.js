// The transfer as people see it. Built once and then only its figures change, so nothing moves.

import { el, setText } from './dom.js';
import { duration, size } from './format.js';
import { problemList } from './verdict.js';

const TITLES = {
  hashing: 'up-hashing', creating: 'up-creating', uploading: 'up-uploading', paused: 'up-paused', whole: 'up-whole',
  submitting: 'up-submitting', done: 'up-done', failed: 'up-stopped',
};
/** How long a question stays open. */
const SURE_MS = 6000;
/** A reader of the page by ear hears how far it is this often, and at once when the phase changes. */
const SAY_EVERY_MS = 20_000;

export class TransferView {
  /** The element to show. */
  node;
  #t;
  #lang;
  #transfer;
  #actions;
  #parts = {};
  #rows = [];
  #said = { at: 0, phase: '' };
  #documentTitle = document.title;

  /** `actions`: `{pause, resume, pauseFile(name), resumeFile(name), submit, auto(yes), retry, restart, cancel}` */
  constructor(transfer, { t, lang, actions }) {
    this.#t = t;
    this.#lang = lang;
    this.#transfer = transfer;
    this.#actions = actions;
    const parts = this.#parts;
    const figure = (name, label) => {
      parts[name] = el('dd', {}, '–');
      return el('div', {}, el('dt', {}, label), parts[name]);
    };
    const button = (name, key, act, kind = '') => {
      parts[name] = el('button', { type: 'button', class: kind, 'data-action': name, hidden: true, onclick: act }, t(key));
      return parts[name];
    };
    parts.title = el('h2', { tabindex: '-1' }, '');
    parts.bar = el('progress', { max: '1', value: '0', 'aria-label': t('up-all') });
    parts.message = el('div', { class: 'message', role: 'status' });
    parts.heard = el('p', { class: 'sr', role: 'status' });
    parts.auto = el('input', { type: 'checkbox', id: 'auto-submit', checked: transfer.auto, onchange: () => actions.auto(parts.auto.checked) });
    parts.autoLine = el('label', { class: 'check', for: 'auto-submit' }, parts.auto, t('up-auto'));
    this.node = el('div', { class: 'card transfer', 'data-phase': transfer.phase },
      parts.title,
      parts.bar,
      el('dl', { class: 'figures' }, figure('sent', t('up-sent')), figure('speed', t('up-speed')), figure('left', t('up-left')), figure('count', t('up-files'))),
      parts.message,
      parts.heard,
      el('div', { class: 'row actions' },
        button('pause', 'up-pause', actions.pause), button('resume', 'up-resume', actions.resume, 'primary'),
        button('submit', 'up-submit', actions.submit, 'primary'), button('retry', 'up-try-again', actions.retry, 'primary'),
        button('restart', 'up-other-folder', actions.restart),
        parts.login = el('a', { class: 'button', href: '/login', target: '_blank', hidden: true, 'data-action': 'login' }, t('up-login')),
        button('cancel', 'up-cancel', () => this.#cancel(), 'quiet')),
      parts.autoLine,
      el('ul', { class: 'file-list', 'aria-label': t('up-files') }, transfer.figures.files.map((file) => this.#row(file))));
    this.update();
  }

  /** Takes the keyboard to the head: what stood there before is gone. */
  focus() {
    this.#parts.title.focus({ preventScroll: true });
  }

  /** Gives the window its own title back. */
  end() {
    document.title = this.#documentTitle;
  }

  /** What has arrived is thrown away with it: that takes a second press. */
  #cancel() {
    const button = this.#parts.cancel;
    if (!this.#transfer.id || button.dataset.sure) return this.#actions.cancel();
    button.dataset.sure = 'yes';
    setText(button, this.#t('up-discard-sure'));
    setText(this.#parts.heard, this.#t('up-discard-sure'));
    setTimeout(() => {
      delete button.dataset.sure;
      setText(button, this.#t('up-cancel'));
    }, SURE_MS);
  }

  #row(file) {
    const row = {
      file,
      figure: el('span', { class: 'num' }, size(file.bytes)),
      state: el('span', { class: 'state' }, ''),
      bar: el('progress', { max: String(Math.max(file.bytes, 1)), value: '0', 'aria-label': file.name }),
      button: el('button', { type: 'button', class: 'small quiet', disabled: true, onclick: () => (row.button.dataset.action === 'resume-file' ? this.#actions.resumeFile : this.#actions.pauseFile)(file.name) }, ''),
    };
    row.node = el('li', { 'data-file': file.name }, el('span', { class: 'name', title: file.name }, file.name), row.figure, row.state, row.bar, row.button);
    this.#rows.push(row);
    return row.node;
  }

  /** Shows the present state. */
  update() {
    const { phase, message, final, session, figures } = this.#transfer;
    const parts = this.#parts;
    this.node.dataset.phase = phase;
    setText(parts.title, this.#t(TITLES[phase]));
    parts.bar.value = phase === 'done' ? 1 : figures.total ? figures.done / figures.total : 0;
    setText(parts.sent, `${size(figures.done)} / ${size(figures.total)}`);
    setText(parts.speed, figures.speed ? `${size(Math.round(figures.speed))}/s` : '–');
    setText(parts.left, figures.left === null ? '–' : duration(figures.left, this.#lang));
    setText(parts.count, `${figures.files.filter((file) => file.done >= file.bytes).length} / ${figures.files.length}`);
    figures.files.forEach((file, i) => this.#updateRow(this.#rows[i], file, phase));
    this.#say(message, phase, figures.files);
    const shown = {
      pause: phase === 'uploading', resume: phase === 'paused', submit: phase === 'whole', retry: phase === 'failed' && !final,
      restart: phase === 'failed', login: phase === 'failed' && session,
      // What another tab is sending is not this one's to throw away.
      cancel: !['submitting', 'done'].includes(phase) && !(phase === 'failed' && (final || message?.key === 'up-elsewhere')),
    };
    const focused = document.activeElement;
    for (const [name, show] of Object.entries(shown)) parts[name].hidden = !show;
    // The button that was pressed gives way to its opposite: the keyboard goes on from there.
    if (focused?.hidden && focused.parentNode === parts.pause.parentNode) (['resume', 'pause', 'submit', 'retry'].map((name) => parts[name]).find((b) => !b.hidden) ?? parts.title).focus();
    // Keeps its room: the list below must not move.
    parts.autoLine.classList.toggle('over', ['submitting', 'done', 'whole'].includes(phase));
    this.#hear(phase, figures);
  }

  #updateRow(row, file, phase) {
    const t = this.#t;
    const hashing = phase === 'hashing';
    const whole = file.state === 'complete' || file.state === 'here';
    const state = hashing ? (file.done < file.bytes ? 'reading' : 'read') : phase === 'creating' ? 'waiting' : file.state;
    if (row.node.dataset.state !== state) row.node.dataset.state = state;
    const words = {
      reading: '', read: t('up-file-read'), waiting: t('up-file-waiting'), sending: t('up-file-sending'), paused: t('up-file-paused'),
      retrying: t('up-file-retrying'), checking: t('up-file-checking'), complete: t('up-file-complete'),
      here: t(file.origin === 'base' ? 'up-file-base' : 'up-file-here'),
    };
    setText(row.state, words[state] ?? '');
    setText(row.figure, whole || hashing || file.done === 0 ? size(file.bytes) : `${size(file.done)} / ${size(file.bytes)}`);
    row.bar.value = file.bytes ? file.done : whole || state === 'read' ? 1 : 0;
    const resume = state === 'paused';
    const can = resume ? phase === 'uploading' || phase === 'paused' : phase === 'uploading' && ['waiting', 'sending', 'retrying'].includes(state);
    row.button.dataset.action = resume ? 'resume-file' : 'pause-file';
    setText(row.button, t(resume ? 'up-resume-short' : 'up-pause'));
    const label = t(resume ? 'up-resume-file' : 'up-pause-file', { name: file.name });
    if (row.button.getAttribute('aria-label') !== label) row.button.setAttribute('aria-label', label);
    row.button.disabled = !can;
  }

  #say(message, phase, files) {
    const here = files.filter((file) => file.state === 'here');
    let text = message ? message.text ?? this.#t(message.key, message.values) : '';
    if (!text) {
      const parts = [];
      if (phase === 'whole') parts.push(this.#t('up-whole-note'));
      if (here.length && ['uploading', 'paused', 'whole'].includes(phase)) {
        parts.push(this.#t('up-here', { n: here.length, size: size(here.reduce((sum, file) => sum + file.bytes, 0)) }));
      }
      text = parts.join(' ');
    }
    const line = this.#parts.message;
    line.dataset.tone = phase === 'failed' ? 'bad' : '';
    if (line.dataset.said === text) return;
    line.dataset.said = text;
    line.replaceChildren(text, message?.problems?.length ? problemList(message.problems, this.#lang, this.#t('up-problems')) : '');
  }

  #hear(phase, figures) {
    const percent = figures.total ? Math.floor((figures.done / figures.total) * 100) : 0;
    document.title = phase === 'uploading' ? `${percent} % · ${this.#documentTitle}` : this.#documentTitle;
    const now = performance.now();
    if (phase === this.#said.phase && (now - this.#said.at < SAY_EVERY_MS || !['uploading', 'hashing'].includes(phase))) return;
    this.#said = { at: now, phase };
    const left = figures.left === null ? '' : ` ${this.#t('up-left')}: ${duration(figures.left, this.#lang)}`;
    setText(this.#parts.heard, ['uploading', 'hashing'].includes(phase) ? `${this.#t(TITLES[phase])}, ${percent} %.${left}` : this.#t(TITLES[phase]));
  }
}
