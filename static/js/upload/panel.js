// <upload-panel>: choose a folder, read its verdict before anything is sent, then send it; or go on with what was begun earlier.

import { call, Refused, renewPage } from './api.js';
import { Checksums } from './checksums.js';
import { el, svg } from './dom.js';
import { readDrafts } from './drafts.js';
import { diagnose, within } from './folder.js';
import { fillIn, percent, size } from './format.js';
import { askFolder, choose, fromDrop, fromHandle, fromInput, leftOut, permission } from './pick.js';
import { compare, findDraft } from './plan.js';
import { TransferView } from './progress.js';
import { decide } from './retry.js';
import { slices, UnreadableFile } from './slices.js';
import { dropFolder, knownFolder, sendingDraft, setSendingDraft } from './store.js';
import { Transfer } from './transfer.js';
import { verdictView } from './verdict.js';

/** More files than this are never a checkpoint, and reading their headers would only take long. */
const MOST_FILES = 200;
/** Longest list of names shown. */
const SHOWN_NAMES = 5;
/** What is said when a folder is something else, by the kind `diagnose` gives. */
const WRONG = {
  empty: 'up-empty', several: 'up-several', archive: 'up-archive', pickle: 'up-pickle', gguf: 'up-gguf', adapter: 'up-adapter', other: 'up-no-weights',
};

class UploadPanel extends HTMLElement {
  #strings = {};
  #drafts = [];
  #transfer = null;
  #checksums = null;
  #turn = 0;
  #inputs = {};

  connectedCallback() {
    this.#strings = JSON.parse(this.dataset.strings);
    this.#drafts = readDrafts(document);
    addEventListener('beforeunload', (event) => {
      // The browser shows its own words; asking is what matters. What is paused or broken loses nothing by leaving.
      if (this.#transfer?.moving) event.preventDefault();
    });
    // A folder dropped beside the zone must not make the browser leave for it.
    for (const name of ['dragover', 'drop']) addEventListener(name, (event) => event.preventDefault());
    // Back from logging in, in another tab: what stopped for it goes on by itself.
    addEventListener('focus', () => { if (this.#transfer?.phase === 'failed' && this.#transfer.session) this.#go?.(); });
    for (const draft of this.#drafts) this.#wireDraft(draft);
    this.#showChoice();
    this.#goOn();
  }

  #go = null;

  /** A sentence in the page's language; an unknown key is null, so that callers may fall back. */
  #t = (key, values) => (key in this.#strings ? fillIn(this.#strings[key], values) : null);

  get #context() {
    return { t: this.#t, lang: document.documentElement.lang };
  }

  get #draftList() {
    return document.querySelector('[data-drafts]');
  }

  #show(...nodes) {
    this.replaceChildren(...nodes.filter(Boolean));
  }

  // ---- choosing

  #showChoice(message = null, { focus = false } = {}) {
    const t = this.#t;
    this.#checksums?.end();
    this.#checksums = null;
    this.#turn += 1;
    if (this.#draftList) this.#draftList.hidden = this.#drafts.length === 0;
    const take = (input) => this.#take({ entries: fromInput(input), handle: null }, this.#draftOf(input));
    const folder = el('input', { type: 'file', webkitdirectory: true, hidden: true, 'aria-label': t('up-choose-folder'), onchange: () => take(folder) });
    const files = el('input', { type: 'file', multiple: true, hidden: true, 'aria-label': t('up-choose-files'), onchange: () => take(files) });
    this.#inputs = { folder, files };
    const button = el('button', { type: 'button', class: 'primary', 'data-action': 'choose', onclick: () => this.#choose() }, t('up-choose-folder'));
    const zone = el('div', { class: 'drop', 'data-step': 'choose' },
      svg('svg', { viewBox: '0 0 48 48', 'aria-hidden': 'true' },
        svg('path', { d: 'M5 12v26h38V16H23l-5-6H7a2 2 0 0 0-2 2z' }), svg('path', { d: 'M24 33V22m-5 5 5-5 5 5' })),
      el('h2', {}, t('up-choose-title')),
      el('div', { class: 'row' }, button,
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
    if (focus) button.focus();
  }

  /** Asks for a folder: by a handle that outlives a reload where the browser has such, else by the input. */
  async #choose(draft = null) {
    this.#inputs.folder.dataset.draft = draft?.id ?? '';
    if (!window.showDirectoryPicker) return this.#inputs.folder.click();
    let handle;
    try {
      handle = await askFolder();
    } catch {
      return this.#inputs.folder.click();
    }
    if (handle) this.#take({ entries: fromHandle(handle), handle }, draft);
  }

  #draftOf(input) {
    return this.#drafts.find((draft) => draft.id === input.dataset.draft) ?? null;
  }

  /** Reads what was chosen: for a draft it goes on at once, else the verdict comes first. */
  async #take({ entries: pending, handle: asked, below: kept = '' }, draft = null) {
    const t = this.#t;
    // A second choice makes the answer to the first one void.
    const turn = ++this.#turn;
    const bar = el('progress', { max: '1', value: '0', 'aria-label': t('up-reading') });
    const title = el('h2', { role: 'status' }, t('up-reading'));
    this.#show(el('div', { class: 'drop', 'data-step': 'reading' }, title, el('div', { class: 'form' }, bar)));
    try {
      const entries = await pending;
      const handle = await asked;
      const kind = diagnose(entries);
      if (kind.kind === 'several') return this.#showSeveral(entries, handle, kind.folders, draft);
      if (kind.kind in WRONG) return this.#showChoice(t(WRONG[kind.kind], { name: kind.name }));
      const inner = kind.kind === 'inside' ? kind.folders[0] : '';
      const below = [kept, inner].filter(Boolean).join('/');
      await this.#check(inner ? within(entries, inner) : entries, { turn, handle, below, draft, title, bar });
    } catch (error) {
      if (turn === this.#turn) this.#showChoice(this.#explain(error));
    }
  }

  async #check(entries, { turn, handle, below, draft, title, bar }) {
    const t = this.#t;
    const { files, skipped } = choose(entries);
    if (files.length === 0) return this.#showChoice(t('up-empty'));
    if (files.length > MOST_FILES) return this.#showChoice(t('up-too-many', { n: files.length, limit: MOST_FILES }));
    const picked = files.map(({ name, file }) => ({ name, bytes: file.size }));
    const folder = handle ? { handle, below } : null;
    if (draft) {
      const { same, differ, missing, extra } = compare(picked, draft.files);
      if (same) return this.#start(files, { title: draft.title, draft, folder, auto: true });
      // Files beside the declared ones are no harm: they were not there when it was begun.
      if (!differ.length && !missing.length) {
        const declared = files.filter(({ name }) => !extra.includes(name));
        return this.#start(declared, { title: draft.title, draft, folder, auto: true });
      }
      return this.#showChoice(t('up-other-files', { name: names([...differ, ...missing]) }));
    }
    const began = performance.now();
    const parts = await slices(files, (done, total) => { bar.value = done / total; });
    title.textContent = t('up-checking');
    bar.removeAttribute('value');
    const ask = () => call(`/api/v1/precheck?drawn=${document.documentElement.lang}`, { files: parts });
    const inspection = await ask().catch(async (error) => {
      // Whoever logged in again in another tab has a new form token.
      if (decide(error.status, error.code) === 'page' && (await renewPage())) return ask();
      throw error;
    });
    if (turn !== this.#turn) return;
    const known = findDraft(picked, this.#drafts);
    this.#showVerdict(inspection, files, { skipped, folder, below, known, seconds: (performance.now() - began) / 1000 });
  }

  #showSeveral(entries, handle, folders, draft) {
    const t = this.#t;
    const take = (below) => {
      const rest = within(entries, below);
      const title = el('h2', { role: 'status' }, t('up-reading'));
      const bar = el('progress', { max: '1', value: '0', 'aria-label': t('up-reading') });
      this.#show(el('div', { class: 'drop', 'data-step': 'reading' }, title, el('div', { class: 'form' }, bar)));
      const turn = ++this.#turn;
      this.#check(rest, { turn, handle, below, draft, title, bar }).catch((error) => {
        if (turn === this.#turn) this.#showChoice(this.#explain(error));
      });
    };
    const head = el('h2', { tabindex: '-1' }, t('up-several'));
    this.#show(el('div', { class: 'drop', 'data-step': 'several' }, head,
      el('div', { class: 'row choices' }, folders.slice(0, 12).map((folder) =>
        el('button', { type: 'button', 'data-folder': folder, onclick: () => take(folder) }, folder))),
      el('button', { type: 'button', class: 'quiet', onclick: () => this.#showChoice(null, { focus: true }) }, t('up-other-folder'))));
    head.focus({ preventScroll: true });
  }

  #explain(error) {
    if (error instanceof UnreadableFile) return this.#t('up-bad-file', { name: error.file });
    if (!(error instanceof Refused)) return this.#t('up-failed', { code: error.message });
    if (error.status === 0) return this.#t('up-network');
    if (error.status === 401) return this.#t('up-session');
    return error.sentence(document.documentElement.lang) ?? this.#t('up-failed', { code: error.code });
  }

  // ---- the verdict

  #showVerdict(inspection, files, { skipped = [], folder = null, below = '', known = null, seconds = null } = {}) {
    const t = this.#t;
    const view = verdictView(inspection, this.#context);
    const head = view.querySelector('.panel-head');
    head.append(el('span', { class: 'grow' }), el('button', { type: 'button', class: 'small', 'data-action': 'restart', onclick: () => this.#showChoice(null, { focus: true }) }, t('up-other-folder')));
    const note = head.nextSibling;
    if (seconds !== null) note.append(' ', el('span', { class: 'took' }, t('up-took', { n: seconds.toFixed(seconds < 1 ? 2 : 1) })));
    if (below) note.after(el('p', { class: 'panel-note' }, t('up-inside', { name: below })));
    if (skipped.length) view.append(el('p', { class: 'panel-part muted' }, t('up-skipped', { name: names(leftOut(skipped)) })));
    if (inspection.verdict === 'accepted') view.insertBefore(this.#sendForm(files, folder, known), note.nextSibling);
    head.tabIndex = -1;
    if (this.#draftList) this.#draftList.hidden = true;
    this.#show(view);
    // The verdict is what was waited for: a reader of the page by ear is taken to it.
    head.focus({ preventScroll: true });
  }

  #sendForm(files, folder, known) {
    const t = this.#t;
    // Reading begins while the verdict is read: digests are mostly there when somebody says "upload".
    const sums = (this.#checksums = new Checksums(files));
    const progress = el('span', { class: 'sums' }, '');
    sums.tell = () => { progress.textContent = sums.done < sums.total ? t('up-sums', { percent: percent(sums.done, sums.total) }) : t('up-sums-done'); };
    // What cannot be read is said when it is to be sent.
    sums.run().catch(() => {});
    const title = el('input', { type: 'text', id: 'title', maxlength: '80', 'aria-describedby': 'title-hint', value: known?.title || null });
    const auto = el('input', { type: 'checkbox', id: 'auto', checked: remembersAuto() });
    const submit = (event) => {
      event.preventDefault();
      rememberAuto(auto.checked);
      this.#start(files, { title: title.value.trim(), folder, auto: auto.checked, checksums: sums });
    };
    return el('form', { class: 'send panel-part', onsubmit: submit },
      known ? el('p', { class: 'known' }, t('up-known', { percent: percent(received(known), total(known)) })) : null,
      known ? null : el('div', { class: 'field' }, el('label', { for: 'title' }, t('up-title-label')), title),
      el('button', { class: 'primary', 'data-action': 'upload' }, t(known ? 'up-continue' : auto.checked ? 'up-start' : 'up-start-only')),
      el('p', { class: 'note', id: 'title-hint' }, known ? null : t('up-title-hint'), known ? null : el('br'), t('up-start-size', { n: files.length, size: size(files.reduce((sum, { file }) => sum + file.size, 0)) }), ' · ', progress),
      el('label', { class: 'check', for: 'auto', onchange: () => {
        if (!known) this.querySelector('[data-action=upload]').textContent = t(auto.checked ? 'up-start' : 'up-start-only');
      } }, auto, t('up-auto')));
  }

  // ---- sending

  #start(files, { title, draft = null, folder = null, auto, checksums = new Checksums(files) }) {
    this.#checksums = null;
    let frame = 0;
    let view = null;
    const transfer = new Transfer(files, {
      checksums, title, draft, folder, auto,
      chunkBytes: Number(this.dataset.chunkBytes) || 0,
      // Progress comes many times a second; it is painted at most once a frame. A hidden tab paints no frames but keeps its title.
      tell: () => {
        if (document.hidden) view?.update();
        else if (!frame) frame = requestAnimationFrame(() => { frame = 0; view?.update(); });
      },
    });
    const leave = (message = null) => {
      this.#transfer = this.#go = null;
      view.end();
      this.#showChoice(message, { focus: true });
    };
    const go = async () => {
      const answer = await transfer.run();
      if (answer?.rejected) {
        this.#transfer = this.#go = null;
        view.end();
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
        pauseFile: (name) => transfer.pauseFile(name),
        resumeFile: (name) => transfer.resumeFile(name),
        submit: () => transfer.submit(),
        auto: (yes) => { transfer.auto = yes; rememberAuto(yes); },
        retry: go,
        restart: () => { transfer.leave(); setSendingDraft(null); leave(); },
        cancel: async () => {
          const id = transfer.id;
          await transfer.cancel();
          this.#forgetDraft(id);
          leave();
        },
      },
    });
    this.#transfer = transfer;
    this.#go = go;
    if (this.#draftList) this.#draftList.hidden = true;
    this.#show(view.node);
    view.focus();
    go();
  }

  // ---- what was begun earlier

  #wireDraft(draft) {
    const act = (name, handler) => draft.element.querySelector(`[data-action=${name}]`)?.addEventListener('click', handler);
    act('continue', async () => {
      const kept = await knownFolder(draft.id);
      if (kept && (await permission(kept.handle, { ask: true })) === 'granted') return this.#resumeFrom(kept, draft);
      this.#choose(draft);
    });
    act('discard', async (event) => {
      const button = event.currentTarget;
      // The second press means it: what is thrown away is gigabytes of somebody's evening.
      if (!button.dataset.sure) {
        button.dataset.sure = 'yes';
        button.textContent = this.#t('up-discard-sure');
        return;
      }
      button.disabled = true;
      try {
        await call(`/api/v1/submissions/${draft.id}`, undefined, 'DELETE');
      } catch (error) {
        if (error.status !== 404) {
          button.disabled = false;
          return this.#showChoice(this.#explain(error));
        }
      }
      this.#forgetDraft(draft.id);
      this.querySelector('[data-action=choose]')?.focus();
    });
  }

  #forgetDraft(id) {
    const draft = this.#drafts.find((draft) => draft.id === id);
    dropFolder(id);
    if (!draft) return;
    draft.element.remove();
    this.#drafts = this.#drafts.filter((other) => other !== draft);
    if (this.#draftList) this.#draftList.hidden = this.#drafts.length === 0;
  }

  async #resumeFrom({ handle, below }, draft) {
    const entries = fromHandle(handle).then((all) => (below ? within(all, below) : all));
    await this.#take({ entries, handle, below }, draft);
  }

  /** After a reload in the midst of sending: by itself where the folder may still be read, else it is said which folder to choose. */
  async #goOn() {
    const asked = new URLSearchParams(location.search).get('continue');
    const sending = sendingDraft();
    const draft = this.#drafts.find(({ id }) => id === (asked ?? sending));
    if (sending && !this.#drafts.some(({ id }) => id === sending)) setSendingDraft(null);
    if (!draft) return;
    draft.element.dataset.current = 'yes';
    const kept = await knownFolder(draft.id);
    if (draft.id === sending && kept && (await permission(kept.handle)) === 'granted') return this.#resumeFrom(kept, draft);
    const note = draft.element.querySelector('[data-note]');
    if (note) note.textContent = this.#t(kept ? 'up-reload-click' : 'up-reload-choose');
    draft.element.querySelector('[data-action=continue]')?.focus({ preventScroll: true });
  }
}

function names(list) {
  return list.slice(0, SHOWN_NAMES).join(', ') + (list.length > SHOWN_NAMES ? ', …' : '');
}

function received(draft) {
  return draft.files.reduce((sum, file) => sum + file.received, 0);
}

function total(draft) {
  return draft.files.reduce((sum, file) => sum + file.bytes, 0);
}

function remembersAuto() {
  try { return localStorage.getItem('assay-auto-submit') !== 'no'; } catch { return true; }
}

function rememberAuto(yes) {
  try { localStorage.setItem('assay-auto-submit', yes ? 'yes' : 'no'); } catch { /* then it is asked again */ }
}

customElements.define('upload-panel', UploadPanel);
