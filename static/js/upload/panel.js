// <upload-panel>: choose a folder, read its verdict before anything is sent, then send it.

import { call, Refused } from './api.js';
import { el, svg } from './dom.js';
import { fillIn, size } from './format.js';
import { choose, fromDrop, fromInput } from './pick.js';
import { TransferView } from './progress.js';
import { slices, UnreadableFile } from './slices.js';
import { Transfer } from './transfer.js';
import { verdictView } from './verdict.js';

/** More files than this are never a checkpoint, and reading their headers would only take long. */
const MOST_FILES = 200;
/** Longest list of left-out names shown. */
const SHOWN_SKIPPED = 5;

class UploadPanel extends HTMLElement {
  #strings = {};
  #transfer = null;
  #turn = 0;

  connectedCallback() {
    this.#strings = JSON.parse(this.dataset.strings);
    addEventListener('beforeunload', (event) => {
      // The browser shows its own words; asking is what matters.
      if (this.#transfer && !['done', 'failed'].includes(this.#transfer.phase)) event.preventDefault();
    });
    this.#showChoice();
  }

  /** A sentence in the page's language; an unknown key is null, so that callers may fall back. */
  #t = (key, values) => (key in this.#strings ? fillIn(this.#strings[key], values) : null);

  get #context() {
    return { t: this.#t, lang: document.documentElement.lang, baseBytes: Number(this.dataset.baseBytes) || null };
  }

  #show(...nodes) {
    this.replaceChildren(...nodes.filter(Boolean));
  }

  #showChoice(message = null) {
    const t = this.#t;
    const folder = el('input', { type: 'file', webkitdirectory: true, hidden: true, 'aria-label': t('up-choose-folder'), onchange: () => this.#take(fromInput(folder)) });
    const files = el('input', { type: 'file', multiple: true, hidden: true, 'aria-label': t('up-choose-files'), onchange: () => this.#take(fromInput(files)) });
    const zone = el('div', { class: 'drop', 'data-step': 'choose' },
      svg('svg', { viewBox: '0 0 48 48', 'aria-hidden': 'true' },
        svg('path', { d: 'M5 12v26h38V16H23l-5-6H7a2 2 0 0 0-2 2z' }), svg('path', { d: 'M24 33V22m-5 5 5-5 5 5' })),
      el('h2', {}, t('up-choose-title')),
      el('div', { class: 'row' },
        el('button', { type: 'button', class: 'primary', onclick: () => folder.click() }, t('up-choose-folder')),
        el('button', { type: 'button', onclick: () => files.click() }, t('up-choose-files'))),
      folder, files,
      el('p', { class: 'small' }, t('up-choose-note')),
      message ? el('div', { class: 'form-error', role: 'alert' }, message) : null);
    zone.addEventListener('dragover', (event) => { event.preventDefault(); zone.classList.add('over'); });
    zone.addEventListener('dragleave', (event) => { if (!zone.contains(event.relatedTarget)) zone.classList.remove('over'); });
    zone.addEventListener('drop', (event) => {
      event.preventDefault();
      zone.classList.remove('over');
      this.#take(fromDrop(event.dataTransfer));
    });
    this.#show(zone);
  }

  async #take(pending) {
    const t = this.#t;
    // A second choice makes the answer to the first one void.
    const turn = ++this.#turn;
    const bar = el('progress', { max: '1', value: '0', 'aria-label': t('up-reading') });
    const title = el('h2', { role: 'status' }, t('up-reading'));
    this.#show(el('div', { class: 'drop', 'data-step': 'reading' }, title, el('div', { class: 'form' }, bar)));
    try {
      const { files, skipped } = choose(await pending);
      if (files.length === 0) return this.#showChoice(t('up-empty'));
      if (files.length > MOST_FILES) return this.#showChoice(t('up-too-many', { n: files.length, limit: MOST_FILES }));
      const parts = await slices(files, (done, total) => { bar.value = done / total; });
      title.textContent = t('up-checking');
      bar.removeAttribute('value');
      const inspection = await call('/api/v1/precheck', { files: parts });
      if (turn === this.#turn) this.#showVerdict(inspection, files, skipped);
    } catch (error) {
      if (turn === this.#turn) this.#showChoice(this.#explain(error));
    }
  }

  #explain(error) {
    if (error instanceof UnreadableFile) return this.#t('up-bad-file', { name: error.file });
    if (!(error instanceof Refused)) return this.#t('up-failed', { code: error.message });
    if (error.status === 0) return this.#t('up-network');
    if (error.status === 401) return this.#t('up-session');
    return error.sentence(document.documentElement.lang) ?? this.#t('up-failed', { code: error.code });
  }

  #showVerdict(inspection, files, skipped = []) {
    const t = this.#t;
    const view = verdictView(inspection, this.#context);
    const head = view.querySelector('.panel-head');
    head.append(el('span', { class: 'grow' }), el('button', { type: 'button', class: 'small', 'data-action': 'restart', onclick: () => this.#showChoice() }, t('up-other-folder')));
    if (skipped.length) {
      const names = skipped.slice(0, SHOWN_SKIPPED).join(', ') + (skipped.length > SHOWN_SKIPPED ? ', …' : '');
      view.append(el('p', { class: 'panel-part muted' }, t('up-skipped', { name: names })));
    }
    const send = inspection.verdict === 'accepted' ? this.#sendForm(files) : null;
    if (send) head.parentNode.insertBefore(send, head.nextSibling.nextSibling);
    head.tabIndex = -1;
    this.#show(view);
    // The verdict is what was waited for: a reader of the page by ear is taken to it.
    head.focus({ preventScroll: true });
  }

  #sendForm(files) {
    const t = this.#t;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    const title = el('input', { type: 'text', id: 'title', maxlength: '80', 'aria-describedby': 'title-hint' });
    return el('form', { class: 'send panel-part', onsubmit: (event) => { event.preventDefault(); this.#start(files, title.value.trim()); } },
      el('div', { class: 'field' }, el('label', { for: 'title' }, t('up-title-label')), title),
      el('button', { class: 'primary', 'data-action': 'upload' }, t('up-start')),
      el('p', { class: 'note', id: 'title-hint' }, t('up-title-hint'), ' ', t('up-start-size', { n: files.length, size: size(bytes) })));
  }

  #start(files, title) {
    let frame = 0;
    let view = null;
    const transfer = new Transfer(files, title, () => {
      // Progress comes many times a second; it is painted at most once a frame.
      if (!frame) frame = requestAnimationFrame(() => { frame = 0; view?.update(); });
    });
    const go = async () => {
      const answer = await transfer.run();
      if (answer?.rejected) {
        this.#transfer = null;
        this.#showVerdict(answer.rejected, files);
      } else if (answer) {
        location.assign(`/submissions/${answer}`);
      }
    };
    view = new TransferView(transfer, {
      ...this.#context,
      actions: {
        pause: () => transfer.pause(),
        resume: () => transfer.resume(),
        retry: go,
        restart: () => { this.#transfer = null; this.#showChoice(); },
        cancel: async () => { await transfer.cancel(); this.#transfer = null; this.#showChoice(); },
      },
    });
    this.#transfer = transfer;
    addEventListener('online', () => { if (transfer.phase === 'failed' && !transfer.final) go(); });
    this.#show(view.node);
    go();
  }
}

customElements.define('upload-panel', UploadPanel);
