// Sends a folder that was accepted: checksums, draft, one resumable upload a file, submit.
//
// The files are created by our own API and tus-js-client gets `uploadUrl` without `endpoint`: with an endpoint, any failed HEAD
// (a deploy, an ended session) would make it start again from zero.

import '../../vendor/tus-js-client@4.3.1/tus.min.js';
import { call, csrf, Refused } from './api.js';
import { Hasher } from './hash.js';
import { SpeedMeter } from './speed.js';

/** One PATCH. Small enough that a lost connection costs seconds, large enough that round trips do not. */
const CHUNK_BYTES = 16 * 2 ** 20;
/** How long a broken connection is waited for; any byte that arrives starts the row anew. */
const RETRY_MS = [0, 1000, 3000, 5000, 10000, 20000, 30000, 30000];
/** Answers after which trying again can help: busy, late, too fast, not ours at the moment. 401 is for a person. */
const WORTH_RETRYING = new Set([408, 409, 423, 425, 429]);

/** Something a person must act on: the message's key and what fills its holes. */
class Stop extends Error {
  constructor(key, values = {}, { final = false } = {}) {
    super(key);
    Object.assign(this, { key, values, final });
  }
}

/** The server no longer has an upload: trying again makes a new draft. */
class Gone extends Error {}

export class Transfer {
  /** `hashing`, `creating`, `uploading`, `paused`, `submitting`, `done`, `failed` */
  phase = 'hashing';
  /** `{key, values}` or `{text}`: what a person should know now. */
  message = null;
  /** Whether trying again can help after `failed`. */
  final = false;
  #files;
  #title;
  #tell;
  #digests = null;
  #draft = null;
  #upload = null;
  #hasher = null;
  #meter = new SpeedMeter();
  #over = false;

  /**
   * @param {{name: string, file: File}[]} files
   * @param {string} title
   * @param {() => void} tell called after every change
   */
  constructor(files, title, tell) {
    this.#files = files.map(({ name, file }) => ({ name, file, bytes: file.size, done: 0, hashed: 0 }));
    this.#title = title;
    this.#tell = tell;
  }

  /** The figures to show. While checksums are computed, `done` counts hashed bytes. */
  get figures() {
    const key = this.phase === 'hashing' ? 'hashed' : 'done';
    const total = this.#files.reduce((sum, file) => sum + file.bytes, 0);
    const done = this.#files.reduce((sum, file) => sum + file[key], 0);
    const speed = this.phase === 'uploading' || this.phase === 'hashing' ? this.#meter.speed() : null;
    return {
      total,
      done,
      speed,
      left: speed ? (total - done) / speed : null,
      files: this.#files.map((file) => ({ name: file.name, bytes: file.bytes, done: file[key] })),
    };
  }

  /** The submission's id, once there is one. */
  get id() {
    return this.#draft?.id ?? null;
  }

  /** Begins, or goes on after a failure. Resolves to the submission's id, to `{rejected}` with an inspection, or to null. */
  async run() {
    try {
      if (!this.#digests) await this.#hash();
      if (!this.#draft) await this.#prepare();
      this.#enter('uploading');
      for (const file of this.#files) await this.#send(file);
      return await this.#submit();
    } catch (error) {
      if (this.#over) return null;
      if (error instanceof Refused && error.body?.verdict === 'rejected') return { rejected: error.body };
      this.#fail(error);
      return null;
    }
  }

  pause() {
    if (this.phase !== 'uploading') return;
    this.#upload?.abort();
    this.#enter('paused');
  }

  resume() {
    if (this.phase !== 'paused') return;
    this.#enter('uploading');
    this.#upload?.start();
  }

  /** Stops for good and frees what the server already has. */
  async cancel() {
    this.#over = true;
    this.#hasher?.end();
    await this.#upload?.abort().catch(() => {});
    await this.#discard();
  }

  async #hash() {
    this.#enter('hashing');
    this.#hasher = new Hasher();
    const digests = [];
    try {
      for (const file of this.#files) {
        const digest = await this.#hasher.hash(file.file, (bytes) => {
          file.hashed = bytes;
          this.#count('hashed');
        }).catch(() => { throw new Stop('up-changed', { name: file.name }, { final: true }); });
        file.hashed = file.bytes;
        digests.push(digest);
      }
    } finally {
      this.#hasher.end();
    }
    this.#digests = digests;
  }

  /** Finds the draft of an earlier, interrupted upload of exactly these files, or makes a new one. */
  async #prepare() {
    this.#enter('creating');
    const manifest = this.#files.map((file, i) => ({ name: file.name, bytes: file.bytes, sha256: this.#digests[i] }));
    const key = `assay-draft:${manifest.map((file) => `${file.name}:${file.sha256}`).join('|')}`;
    const known = JSON.parse(remembered(key) ?? 'null');
    if (known) {
      const present = await call(`/api/v1/submissions/${known.id}`).catch((error) => {
        if (error.status === 404 || error.status === 410) return null;
        throw error;
      });
      if (present?.state === 'draft') {
        this.#draft = { ...known, key };
        this.message = { key: 'up-resumed' };
        return;
      }
      remember(key, null);
    }
    const made = await call('/api/v1/submissions', { title: this.#title, files: manifest });
    this.#draft = { id: made.id, files: made.files, key };
    remember(key, JSON.stringify({ id: made.id, files: made.files }));
  }

  #send(file) {
    const place = this.#draft.files.find((row) => row.name === file.name);
    if (!place) throw new Stop('up-failed', { code: file.name });
    return new Promise((resolve, reject) => {
      this.#upload = new window.tus.Upload(file.file, {
        uploadUrl: place.upload_url,
        uploadSize: file.bytes,
        chunkSize: CHUNK_BYTES,
        retryDelays: RETRY_MS,
        storeFingerprintForResuming: false,
        headers: { 'x-csrf-token': csrf() },
        onShouldRetry: (error) => this.#shouldRetry(error),
        onProgress: (sent) => {
          file.done = sent;
          if (sent > 0 && this.message?.passing) this.message = null;
          this.#count('done');
        },
        onSuccess: () => {
          file.done = file.bytes;
          this.#tell();
          resolve();
        },
        onError: (error) => reject(refusal(error, file.name)),
      });
      this.#upload.start();
    });
  }

  #shouldRetry(error) {
    const status = error.originalResponse?.getStatus() ?? 0;
    const again = unreadable(error) ? false : status === 0 || status >= 500 || WORTH_RETRYING.has(status);
    if (again) {
      this.message = { key: navigator.onLine === false ? 'up-offline' : 'up-retrying', passing: true };
      this.#meter.reset();
      this.#tell();
    }
    return again;
  }

  async #submit() {
    this.#enter('submitting');
    const { id } = this.#draft;
    await call(`/api/v1/submissions/${id}/submit`, {}).catch(async (error) => {
      // The first answer may have been lost on the way: what counts is whether it is submitted now.
      if (error.status !== 409) throw error;
      const present = await call(`/api/v1/submissions/${id}`);
      if (present.state === 'draft') throw error;
    });
    this.#forget();
    this.#enter('done');
    return id;
  }

  #fail(error) {
    this.phase = 'failed';
    this.#meter.reset();
    if (error instanceof Stop) {
      this.message = { key: error.key, values: error.values };
      this.final = error.final;
      // What the server has of it is of other bytes: it must not be found again.
      if (error.final) this.#discard();
    } else if (error instanceof Refused) {
      const sentence = error.sentence(document.documentElement.lang);
      if (error.status === 0) this.message = { key: 'up-network' };
      else if (error.status === 401) this.message = { key: 'up-session' };
      else this.message = sentence ? { text: sentence, problems: error.body?.problems } : { key: 'up-failed', values: { code: error.code } };
    } else if (error instanceof Gone) {
      this.message = { key: 'up-gone' };
      this.#discard();
      for (const file of this.#files) file.done = 0;
    } else {
      this.message = { key: 'up-failed', values: { code: error.message } };
    }
    this.#tell();
  }

  /** Throws the draft away, here and there. Best effort there: a draft that is left over expires by itself. */
  async #discard() {
    const id = this.#draft?.id;
    this.#forget();
    if (id) await call(`/api/v1/submissions/${id}`, undefined, 'DELETE').catch(() => {});
  }

  #forget() {
    if (this.#draft) remember(this.#draft.key, null);
    this.#draft = null;
  }

  #enter(phase) {
    this.phase = phase;
    if (phase !== 'uploading') this.message = null;
    this.#meter.reset();
    this.#tell();
  }

  #count(key) {
    this.#meter.add(this.#files.reduce((sum, file) => sum + file[key], 0));
    this.#tell();
  }
}

/** What a tus error means to a person. */
function refusal(error, name) {
  if (unreadable(error)) return new Stop('up-changed', { name }, { final: true });
  const response = error.originalResponse;
  if (!response) return new Stop('up-network');
  const status = response.getStatus();
  if (status === 404 || status === 410) return new Gone();
  let body = null;
  try { body = JSON.parse(response.getBody()); } catch { /* a proxy's own page */ }
  if (status === 460 || /corrupt|sha256|digest|checksum/.test(body?.code ?? '')) return new Stop('up-corrupt', { name }, { final: true });
  return new Refused(status, body);
}

/** Whether the browser could not read the file any more. */
function unreadable(error) {
  const cause = error.causingError ?? error;
  return cause?.name === 'NotReadableError' || cause?.name === 'NotFoundError';
}

// Storage may be forbidden or full: an upload then simply cannot be found again after a reload.
function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}
function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch { /* see above */ }
}
