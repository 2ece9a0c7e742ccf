// Sends a folder that was accepted: checksums, draft, several resumable uploads at once, submit. Nothing here gives up by itself:
// it waits for networks and servers however long they take, and stops only where a person must decide.

import { call, Refused, renewPage } from './api.js';
import { Unreadable } from './checksums.js';
import { presentDrafts } from './drafts.js';
import { compare, findDraft, nextToSend, place } from './plan.js';
import { backoff, decide } from './retry.js';
import { Sender } from './sender.js';
import { SpeedMeter } from './speed.js';
import { dropFolder, keepFolder, setSendingDraft } from './store.js';

/** One PATCH. Below the body limits of common proxies (100 MB), and a lost answer costs seconds. */
const CHUNK_BYTES = 16 * 2 ** 20;
/** A proxy that refuses even this much is not in our power. */
const LEAST_CHUNK_BYTES = 256 * 1024;
/** Times another browser may take the same file over before this one leaves it to that one. */
const MOST_TAKEN = 3;
/** Times a token is renewed for a file that gets no byte through in between. */
const MOST_RENEWALS = 3;

/** Something a person must act on: the message's key and what fills its holes. */
class Stop extends Error {
  constructor(key, values = {}, { final = false, session = false } = {}) {
    super(key);
    Object.assign(this, { key, values, final, session });
  }
}

/** The submission was sent meanwhile, from here or elsewhere. */
class Sent extends Error {}

export class Transfer {
  /** `hashing`, `creating`, `uploading`, `paused`, `whole` (waits for the word to submit), `submitting`, `done`, `failed` */
  phase = 'hashing';
  /** `{key, values}` or `{text, problems}`: what a person should know now. */
  message = null;
  /** After `failed`: whether only another folder can help. */
  final = false;
  /** After `failed`: whether logging in helps. */
  session = false;
  /** Whether to submit as soon as all files are whole. */
  auto = true;
  #files;
  #checksums;
  #title;
  #draft;
  #folder;
  #chunkBytes;
  #tell;
  #id = null;
  #token = null;
  #meter = new SpeedMeter();
  #over = false;
  #running = null;
  #sending = null;
  #asked = null;
  #renewing = null;
  #wake = new Set();
  #release = null;

  /**
   * @param {{name: string, file: File}[]} files
   * @param {{checksums: Checksums, title: string, draft?: object, folder?: {handle: object, below: string}, auto: boolean,
   *   chunkBytes?: number, tell: () => void}} how  `draft`: the unfinished upload these files go on with; `tell` is called after
   *   every change
   */
  constructor(files, { checksums, title, draft = null, folder = null, auto = true, chunkBytes = 0, tell }) {
    this.#files = files.map(({ name, file }) => ({
      name, file, bytes: file.size, done: 0, state: 'waiting', origin: null, place: null, sender: null, timer: 0,
      tries: 0, taken: 0, renewals: 0, healed: false,
    }));
    this.#checksums = checksums;
    this.#title = title;
    this.#draft = draft;
    this.#folder = folder;
    this.auto = auto;
    this.#chunkBytes = chunkBytes || CHUNK_BYTES;
    this.#tell = tell;
    checksums.tell = () => { if (this.phase === 'hashing') this.#tell(); };
    addEventListener('online', this.#online);
    addEventListener('offline', this.#offline);
  }

  /** The figures to show. While checksums are computed, `done` counts hashed bytes. */
  get figures() {
    const hashing = this.phase === 'hashing';
    const sums = this.#checksums;
    const total = this.#files.reduce((sum, file) => sum + file.bytes, 0);
    const done = hashing ? sums.done : this.#files.reduce((sum, file) => sum + file.done, 0);
    const moving = this.phase === 'uploading';
    return {
      total,
      done,
      speed: hashing ? sums.speed : moving ? this.#meter.speed() : null,
      left: hashing ? sums.left : moving ? this.#meter.left(total - done) : null,
      files: this.#files.map((file, i) => ({
        name: file.name, bytes: file.bytes, done: hashing ? sums.rows[i].hashed : file.done, state: file.state, origin: file.origin,
      })),
    };
  }

  /** The submission's id, once there is one. */
  get id() {
    return this.#id;
  }

  /** Whether leaving the page now would interrupt bytes on their way. */
  get moving() {
    return this.phase === 'uploading' && this.#files.some((file) => file.state === 'sending');
  }

  /** Begins, or goes on after a failure. Resolves to the submission's id, to `{rejected}` with an inspection, or to null. */
  run() {
    this.#running ??= this.#run().finally(() => { this.#running = null; });
    return this.#running;
  }

  pause() {
    if (this.phase !== 'uploading') return;
    for (const file of this.#files) {
      if (file.state === 'sending' || file.state === 'retrying') this.#rest(file, 'waiting');
    }
    setSendingDraft(null);
    this.#enter('paused');
  }

  resume() {
    if (this.phase !== 'paused') return;
    for (const file of this.#files) if (file.state === 'paused') file.state = 'waiting';
    setSendingDraft(this.#id);
    this.#enter('uploading');
    this.#pump();
  }

  /** Holds one file back; the others go on. */
  pauseFile(name) {
    const file = this.#files.find((file) => file.name === name);
    if (this.phase !== 'uploading' || !['waiting', 'sending', 'retrying'].includes(file?.state)) return;
    this.#rest(file, 'paused');
    this.#meter.reset();
    this.#pump();
    if (!this.#files.some((file) => ['waiting', 'sending', 'retrying', 'checking'].includes(file.state))) this.pause();
    this.#tell();
  }

  resumeFile(name) {
    const file = this.#files.find((file) => file.name === name);
    if (file?.state !== 'paused') return;
    file.state = 'waiting';
    if (this.phase === 'paused') {
      setSendingDraft(this.#id);
      this.#enter('uploading');
    }
    this.#pump();
    this.#tell();
  }

  /** Submits what is whole. */
  submit() {
    this.auto = true;
    this.#asked?.();
  }

  /** Stops for good and frees what the server has. */
  async cancel() {
    const id = this.#id;
    this.leave();
    setSendingDraft(null);
    if (id) {
      await dropFolder(id);
      await this.#call(`/api/v1/submissions/${id}`, undefined, 'DELETE').catch(() => {});
    }
  }

  /** Stops for good; what the server has stays there. */
  leave() {
    this.#over = true;
    removeEventListener('online', this.#online);
    removeEventListener('offline', this.#offline);
    this.#checksums.end();
    for (const file of this.#files) this.#rest(file, file.state);
    this.#sending?.reject(new Stop('up-paused'));
    for (const wake of this.#wake) wake();
    this.#release?.();
  }

  async #run() {
    try {
      this.final = this.session = false;
      if (this.#checksums.rows.some((row) => !row.sha256)) {
        this.#enter('hashing');
        await this.#checksums.run();
        if (this.#over) return null;
      }
      this.#enter('creating');
      await this.#prepare();
      await this.#hold();
      for (;;) {
        setSendingDraft(this.#id);
        this.#enter('uploading');
        await this.#sendAll();
        setSendingDraft(null);
        if (!this.auto) await this.#word();
        if (this.#over) return null;
        if (await this.#submit()) break;
        // The server misses a file that we believed whole: ask it again and send what it says.
        await this.#refresh();
      }
      return this.#finish();
    } catch (error) {
      if (this.#over) return null;
      if (error instanceof Sent) return this.#finish();
      if (error instanceof Refused && error.body?.verdict === 'rejected') {
        this.leave();
        return { rejected: error.body };
      }
      this.#fail(error);
      return null;
    }
  }

  #finish() {
    this.#enter('done');
    setSendingDraft(null);
    dropFolder(this.#id);
    this.leave();
    return this.#id;
  }

  /** Goes on with the draft of these very files, or makes one. */
  async #prepare() {
    if (this.#id && (await this.#refresh())) return;
    const manifest = this.#checksums.rows.map((row) => ({ name: row.name, bytes: row.bytes, sha256: row.sha256 }));
    const known = this.#draft ?? findDraft(manifest, await this.#persist(presentDrafts));
    if (known) {
      const { differ } = compare(manifest, known.files);
      // Same names and lengths, other bytes: the folder was written anew since. Its upload is another one.
      if (differ.length && this.#draft) throw new Stop('up-differs', { name: differ.join(', ') }, { final: true });
      this.#id = known.id;
      if (await this.#refresh()) {
        this.message = { key: 'up-resumed', passing: true };
        return;
      }
    }
    this.#id = this.#draft = null;
    const made = await this.#persist(async (tries) => {
      // The answer to an earlier try may have been lost after the draft was made.
      const lost = tries > 1 ? findDraft(manifest, await presentDrafts()) : null;
      return lost ? this.#uploads(lost.id) : call('/api/v1/submissions', { title: this.#title, files: manifest });
    });
    this.#id = made.id;
    if (this.#folder) keepFolder(this.#id, this.#folder.handle, this.#folder.below);
    this.#adopt(made);
  }

  /** Asks the server what it has of the draft and declares anew what it gave up. False when there is no such draft any more. */
  async #refresh() {
    const present = await this.#persist(() => this.#uploads(this.#id));
    if (!present) return false;
    this.#adopt(present);
    for (const file of this.#files) {
      if (file.place && ['corrupt', 'expired'].includes(file.place.state)) await this.#declare(file);
    }
    if (this.#folder) keepFolder(this.#id, this.#folder.handle, this.#folder.below);
    return true;
  }

  /** `{id, upload_token, files}`, or null when the draft is gone. */
  async #uploads(id) {
    const answer = await this.#call(`/api/v1/submissions/${id}/uploads`).catch(ifGone);
    if (answer?.state && answer.state !== 'draft') throw new Sent();
    return answer;
  }

  /** In the name of the upload token, which outlives the session; when it is over, in the session's. */
  async #call(path, body, method) {
    if (!this.#token) return call(path, body, method);
    const token = this.#token;
    try {
      return await call(path, body, method, token);
    } catch (error) {
      if (error.status !== 401) throw error;
      if (this.#token === token) this.#token = null;
      return call(path, body, method);
    }
  }

  #adopt({ upload_token: token, files }) {
    this.#token = token ?? null;
    const places = new Map(files.map((row) => [row.name, place(row)]));
    for (const file of this.#files) {
      file.place = places.get(file.name) ?? null;
      if (!file.place) throw new Stop('up-failed', { code: file.name });
      if (file.place.state === 'complete') {
        file.origin = file.place.origin;
        file.state = file.origin ? 'here' : 'complete';
        file.done = file.bytes;
      } else {
        if (file.state !== 'paused') file.state = 'waiting';
        file.done = Math.min(file.place.received, file.bytes);
      }
      Object.assign(file, { tries: 0, taken: 0, renewals: 0 });
    }
  }

  /** A new address for a file whose earlier bytes the server gave up. */
  async #declare(file) {
    const { sha256 } = this.#checksums.rows.find((row) => row.name === file.name);
    const path = `/api/v1/submissions/${this.#id}/files/${encodeURIComponent(file.name)}`;
    file.place = place(await this.#persist(() => this.#call(path, { bytes: file.bytes, sha256 }, 'PUT')));
    const whole = file.place.state === 'complete';
    Object.assign(file, { state: whole ? 'here' : 'waiting', origin: file.place.origin, done: whole ? file.bytes : 0 });
  }

  /** One tab sends; a second one would only take the files from the first, and the first from it. */
  async #hold() {
    if (this.#release || !navigator.locks) return;
    await new Promise((held, refused) => {
      navigator.locks.request(`assay-upload-${this.#id}`, { ifAvailable: true }, (lock) => {
        if (!lock) return refused(new Stop('up-elsewhere'));
        held();
        return new Promise((release) => { this.#release = release; });
      }).catch(refused);
    });
  }

  #sendAll() {
    return new Promise((resolve, reject) => {
      this.#sending = { resolve, reject };
      this.#pump();
    });
  }

  /** Begins what can begin, and notices the end. */
  #pump() {
    if (this.#over || this.phase !== 'uploading' || !this.#sending) return;
    for (const file of nextToSend(this.#files)) this.#send(file);
    if (this.#files.every((file) => file.state === 'complete' || file.state === 'here')) this.#sending.resolve();
  }

  #send(file) {
    file.state = 'sending';
    const before = file.done;
    const sender = new Sender(file.file, {
      url: file.place.url,
      chunkBytes: this.#chunkBytes,
      token: () => this.#token,
      progress: (sent) => {
        if (file.sender !== sender) return;
        // The first news is the server's offset. It may lie behind what was believed sent.
        file.done = sent;
        if (sent > before) {
          Object.assign(file, { tries: 0, taken: 0, renewals: 0 });
          if (this.message?.passing) this.message = null;
        }
        this.#meter.add(this.#files.reduce((sum, file) => sum + file.done, 0));
        this.#tell();
      },
    });
    file.sender = sender;
    sender.ended.then((whole) => {
      if (!whole || file.sender !== sender) return;
      Object.assign(file, { sender: null, state: 'complete', done: file.bytes });
      if (this.message?.passing) this.message = null;
      this.#tell();
      this.#pump();
    }, (failure) => {
      if (file.sender !== sender) return;
      file.sender = null;
      this.#broke(file, failure).catch((error) => this.#halt(error));
    });
  }

  async #broke(file, failure) {
    if (failure.unreadable) throw new Stop('up-changed', { name: file.name }, { final: true });
    const what = decide(failure.status, failure.code);
    this.#meter.reset();
    if (what === 'wait' || (what === 'taken' && ++file.taken <= MOST_TAKEN)) return this.#later(file, failure.retryAfter);
    if (what === 'taken') throw new Stop('up-elsewhere');
    if (what === 'sent') throw new Sent();
    if (what === 'smaller' && this.#chunkBytes > LEAST_CHUNK_BYTES) {
      this.#chunkBytes = Math.max(LEAST_CHUNK_BYTES, Math.floor(this.#chunkBytes / 4));
      return this.#later(file);
    }
    file.state = 'checking';
    this.#tell();
    if (what === 'token' || what === 'page') {
      if (++file.renewals > MOST_RENEWALS) throw new Stop('up-session', {}, { session: true });
      await this.#renew();
    } else if (what === 'gone') {
      const present = await this.#persist(() => this.#uploads(this.#id));
      const row = present?.files.map(place).find((row) => row.name === file.name);
      if (!row) throw new Stop('up-gone');
      if (row.state === 'expired') throw new Stop('up-expired', { name: file.name });
      if (row.state === 'corrupt') await this.#heal(file);
      else file.place = row;
    } else if (what === 'corrupt') {
      await this.#heal(file);
    } else {
      throw new Refused(failure.status, failure.body);
    }
    if (file.state === 'checking') file.state = 'waiting';
    this.#tell();
    this.#pump();
  }

  /** Tries a file again after a wait; the network's return ends the wait. */
  #later(file, retryAfter = null) {
    file.tries += 1;
    file.state = 'retrying';
    this.#troubled();
    file.timer = setTimeout(() => this.#again(file), backoff(file.tries, retryAfter));
  }

  #again(file) {
    clearTimeout(file.timer);
    if (file.state !== 'retrying') return;
    file.state = 'waiting';
    this.#pump();
    this.#tell();
  }

  /** Bytes arrived that are not the declared ones: changed here, or damaged on the way? */
  async #heal(file) {
    const row = this.#checksums.rows.find((row) => row.name === file.name);
    const declared = file.place.sha256 ?? row.sha256;
    if ((await this.#checksums.again(row)) !== declared) throw new Stop('up-changed', { name: file.name }, { final: true });
    if (file.healed) throw new Stop('up-corrupt', { name: file.name }, { final: true });
    file.healed = true;
    await this.#declare(file);
    this.message = { key: 'up-damaged', values: { name: file.name }, passing: true };
  }

  /** A new upload token and form token, once for all files that ask. */
  #renew() {
    this.#renewing ??= (async () => {
      this.#token = null;
      await renewPage();
      const present = await this.#persist(() => this.#uploads(this.#id));
      if (!present) throw new Stop('up-gone');
      this.#token = present.upload_token ?? null;
    })().finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  /** Waits for somebody to say "submit". */
  #word() {
    this.#enter('whole');
    return new Promise((resolve) => {
      this.#asked = resolve;
      this.#wake.add(resolve);
    });
  }

  /** False when the server still misses a file. */
  async #submit() {
    this.#enter('submitting');
    try {
      await this.#persist(() => this.#call(`/api/v1/submissions/${this.#id}/submit`, {}));
      return true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const what = decide(error.status, error.code);
      if (what === 'gone') throw new Stop('up-gone');
      if (what === 'sent') return true;
      if (what === 'incomplete' && !this.#files.some((file) => file.healed)) return false;
      throw error;
    }
  }

  /** Asks again for as long as the server cannot be reached or is busy; renews form tokens on the way. */
  async #persist(act) {
    for (let tries = 1, renewals = 0; ; tries++) {
      try {
        const answer = await act(tries);
        if (this.message?.passing && tries > 1) this.message = null;
        return answer;
      } catch (error) {
        if (this.#over || !(error instanceof Refused)) throw error;
        const what = decide(error.status, error.code);
        if ((what === 'page' || what === 'token') && renewals++ < 2 && (await renewPage())) continue;
        if (what === 'token') throw new Stop('up-session', {}, { session: true });
        if (what !== 'wait') throw error;
        this.#troubled();
        await this.#sleep(backoff(tries, error.retryAfter));
        if (this.#over) throw error;
      }
    }
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); this.#wake.delete(wake); resolve(); };
      const timer = setTimeout(wake, ms);
      this.#wake.add(wake);
    });
  }

  #troubled() {
    this.message = { key: navigator.onLine === false ? 'up-offline' : 'up-retrying', passing: true };
    this.#meter.reset();
    this.#tell();
  }

  #online = () => {
    for (const wake of [...this.#wake]) if (wake !== this.#asked) wake();
    for (const file of this.#files) this.#again(file);
    if (this.phase === 'failed' && this.message?.key === 'up-network') this.run();
  };

  #offline = () => {
    if (this.phase === 'uploading') this.#troubled();
  };

  /** Takes a file off the line. */
  #rest(file, state) {
    clearTimeout(file.timer);
    const sender = file.sender;
    Object.assign(file, { sender: null, state });
    sender?.stop();
  }

  #halt(error) {
    for (const file of this.#files) {
      if (['sending', 'retrying', 'checking'].includes(file.state)) this.#rest(file, 'waiting');
    }
    this.#sending?.reject(error);
  }

  #fail(error) {
    this.phase = 'failed';
    this.#meter.reset();
    this.#release?.();
    this.#release = null;
    if (error instanceof Stop) {
      this.message = { key: error.key, values: error.values };
      this.final = error.final;
      this.session = error.session;
    } else if (error instanceof Unreadable) {
      this.message = { key: 'up-changed', values: { name: error.file } };
      this.final = true;
    } else if (error instanceof Refused) {
      const sentence = error.sentence(document.documentElement.lang);
      this.message = sentence ? { text: sentence, problems: error.body?.problems } : { key: 'up-failed', values: { code: error.code } };
    } else {
      this.message = { key: 'up-failed', values: { code: error.message } };
    }
    this.#tell();
  }

  #enter(phase) {
    this.phase = phase;
    if (!['uploading', 'creating'].includes(phase)) this.message = null;
    this.#meter.reset();
    this.#tell();
  }
}

function ifGone(error) {
  if (error instanceof Refused && (error.status === 404 || error.status === 410)) return null;
  throw error;
}
