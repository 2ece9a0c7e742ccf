// The transfer as people see it. Built once and then only its figures change, so nothing moves.

import { el, setText } from './dom.js';
import { duration, size } from './format.js';
import { problemList } from './verdict.js';

const TITLES = {
  hashing: 'up-hashing', creating: 'up-creating', uploading: 'up-uploading', paused: 'up-paused', submitting: 'up-submitting', done: 'up-done', failed: 'up-paused',
};

export class TransferView {
  /** The element to show. */
  node;
  #t;
  #lang;
  #transfer;
  #parts = {};
  #rows = [];

  /** `actions`: `{pause, resume, retry, cancel, restart}` */
  constructor(transfer, { t, lang, actions }) {
    Object.assign(this, { node: null });
    this.#t = t;
    this.#lang = lang;
    this.#transfer = transfer;
    const figure = (name, label) => {
      this.#parts[name] = el('dd', {}, '–');
      return el('div', {}, el('dt', {}, label), this.#parts[name]);
    };
    const button = (name, key, act, kind = '') => {
      this.#parts[name] = el('button', { type: 'button', class: kind, 'data-action': name, hidden: true, onclick: act }, t(key));
      return this.#parts[name];
    };
    const files = transfer.figures.files;
    this.#parts.title = el('h2', { tabindex: '-1' }, '');
    this.#parts.bar = el('progress', { max: '1', value: '0', 'aria-label': t('up-uploading') });
    this.#parts.message = el('div', { class: 'message', role: 'status' });
    this.node = el('div', { class: 'card transfer', 'data-phase': transfer.phase },
      this.#parts.title,
      this.#parts.bar,
      el('dl', { class: 'figures' }, figure('sent', t('up-sent')), figure('speed', t('up-speed')), figure('left', t('up-left')), figure('count', t('up-files'))),
      this.#parts.message,
      el('div', { class: 'row' },
        button('pause', 'up-pause', actions.pause), button('resume', 'up-resume', actions.resume, 'primary'),
        button('retry', 'up-try-again', actions.retry, 'primary'), button('restart', 'up-other-folder', actions.restart),
        button('cancel', 'up-cancel', actions.cancel, 'quiet')),
      el('ul', { class: 'file-list', 'aria-label': t('up-files') }, files.map((file) => {
        const row = { figure: el('span', { class: 'num' }, size(file.bytes)), bar: el('progress', { max: String(Math.max(file.bytes, 1)), value: '0', 'aria-label': file.name }) };
        this.#rows.push(row);
        return el('li', { 'data-file': file.name }, el('span', { class: 'name', title: file.name }, file.name), row.figure, row.bar);
      })));
    this.update();
  }

  /** Shows the present state. */
  update() {
    const { phase, message, final, figures } = { phase: this.#transfer.phase, message: this.#transfer.message, final: this.#transfer.final, figures: this.#transfer.figures };
    const parts = this.#parts;
    this.node.dataset.phase = phase;
    setText(parts.title, this.#t(TITLES[phase]));
    parts.bar.value = phase === 'done' ? 1 : figures.total ? figures.done / figures.total : 0;
    setText(parts.sent, `${size(figures.done)} / ${size(figures.total)}`);
    setText(parts.speed, figures.speed ? `${size(Math.round(figures.speed))}/s` : '–');
    setText(parts.left, figures.left === null ? '–' : duration(figures.left, this.#lang));
    setText(parts.count, `${figures.files.filter((file) => file.done >= file.bytes).length} / ${figures.files.length}`);
    figures.files.forEach((file, i) => { this.#rows[i].bar.value = file.bytes ? file.done : phase === 'hashing' ? 0 : 1; });
    this.#say(message, phase);
    const shown = {
      pause: phase === 'uploading', resume: phase === 'paused', retry: phase === 'failed' && !final, restart: phase === 'failed' && final,
      cancel: !['submitting', 'done'].includes(phase) && !(phase === 'failed' && final),
    };
    for (const [name, show] of Object.entries(shown)) parts[name].hidden = !show;
  }

  #say(message, phase) {
    const text = message ? message.text ?? this.#t(message.key, message.values) : '';
    const line = this.#parts.message;
    line.dataset.tone = phase === 'failed' ? 'bad' : '';
    if (line.dataset.said === text) return;
    line.dataset.said = text;
    line.replaceChildren(text, message?.problems?.length ? problemList(message.problems, this.#lang, this.#t('up-problems')) : '');
  }
}
