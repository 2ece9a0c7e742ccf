// Sends a folder that was accepted, phase by phase: checksums, draft, files, submit. Nothing here gives up by itself: it waits
// for networks and servers however long they take, and stops only where a person must decide.

import { Refused } from './api.js';
import { Unreadable } from './checksums.js';
import { Patience } from './patience.js';
import { compare } from './plan.js';
import { Remote } from './remote.js';
import { decide } from './retry.js';
import { Sending } from './sending.js';
import { Sent, Stop } from './stop.js';
import { dropFolder, keepFolder, setSendingDraft } from './store.js';

export class Transfer {
  /** `hashing`, `creating`, `uploading`, `paused`, `whole` (waits for the word to submit), `submitting`, `done`, `failed` */
  phase = 'hashing';
  /** `{key, values}` or `{text, problems}`: what a person should know now. One that is `passing` goes when things move again. */
  message = null;
  /** After `failed`: whether only another folder can help. */
  final = false;
  /** After `failed`: whether logging in helps. */
  session = false;
  /** Whether to submit as soon as all files are whole. */
  auto = true;
  #checksums;
  #sending;
  #title;
  #draft;
  #folder;
  #tell;
  #patience = new Patience({ troubled: () => this.#troubled(), through: () => this.#settled() });
  #remote = new Remote(this.#patience);
  #over = false;
  #running = null;
  #asked = null;
  #release = null;

  /**
   * @param {{name: string, file: File}[]} files
   * @param {{checksums: Checksums, title: string, draft?: object, folder?: {handle: object, below: string}, auto: boolean,
   *   chunkBytes?: number, tell: () => void}} how  `draft`: the unfinished upload these files go on with; `tell` is called after
   *   every change
   */
  constructor(files, { checksums, title, draft = null, folder = null, auto = true, chunkBytes = 0, tell }) {
    this.#checksums = checksums;
    this.#title = title;
    this.#draft = draft;
    this.#folder = folder;
    this.auto = auto;
    this.#tell = tell;
    this.#sending = new Sending(files, {
      remote: this.#remote,
      checksums,
      chunkBytes,
      active: () => !this.#over && this.phase === 'uploading',
      news: {
        changed: () => this.#tell(),
        moved: () => this.#settled(),
        troubled: () => this.#troubled(),
        damaged: (name) => { this.message = { key: 'up-damaged', values: { name }, passing: true }; },
      },
    });
    checksums.tell = () => { if (this.phase === 'hashing') this.#tell(); };
    addEventListener('online', this.#online);
    addEventListener('offline', this.#offline);
  }

  /** The figures to show. While checksums are computed, `done` counts hashed bytes. */
  get figures() {
    const hashing = this.phase === 'hashing';
    const moving = this.phase === 'uploading';
    const [sums, sending] = [this.#checksums, this.#sending];
    return {
      total: sending.total,
      done: hashing ? sums.done : sending.done,
      speed: hashing ? sums.speed : moving ? sending.speed : null,
      left: hashing ? sums.left : moving ? sending.left : null,
      files: sending.files.map(({ name, bytes, done, state, origin }, i) => ({ name, bytes, done: hashing ? sums.rows[i].hashed : done, state, origin })),
    };
  }

  /** The submission's id, once there is one. */
  get id() {
    return this.#remote.id;
  }

  /** Whether leaving the page now would interrupt bytes on their way. */
  get moving() {
    return this.phase === 'uploading' && this.#sending.moving;
  }

  /** Begins, or goes on after a failure. Resolves to the submission's id, to `{rejected}` with an inspection, or to null. */
  run() {
    this.#running ??= this.#run().finally(() => { this.#running = null; });
    return this.#running;
  }

  pause() {
    if (this.phase !== 'uploading') return;
    this.#sending.pause();
    setSendingDraft(null);
    this.#enter('paused');
  }

  resume() {
    if (this.phase !== 'paused') return;
    this.#sending.release();
    this.#goOn();
  }

  /** Holds one file back; the others go on. */
  pauseFile(name) {
    if (this.phase !== 'uploading') return;
    const held = this.#sending.hold(name);
    if (!held) return;
    if (!held.left) this.pause();
    this.#tell();
  }

  resumeFile(name) {
    if (!this.#sending.letGo(name)) return;
    if (this.phase === 'paused') return this.#goOn();
    this.#sending.pump();
    this.#tell();
  }

  /** Submits what is whole. */
  submit() {
    this.auto = true;
    this.#asked?.();
  }

  /** Stops for good and frees what the server has. */
  async cancel() {
    this.leave();
    setSendingDraft(null);
    if (this.id) {
      await dropFolder(this.id);
      await this.#remote.discard();
    }
  }

  /** Stops for good; what the server has stays there. */
  leave() {
    this.#over = true;
    removeEventListener('online', this.#online);
    removeEventListener('offline', this.#offline);
    this.#checksums.end();
    this.#sending.end();
    this.#patience.end();
    this.#asked?.();
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
        setSendingDraft(this.id);
        this.#enter('uploading');
        await this.#sending.all();
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

  /** Goes on with the draft of these very files, or makes one. */
  async #prepare() {
    if (this.id && (await this.#refresh())) return;
    const manifest = this.#checksums.rows.map((row) => ({ name: row.name, bytes: row.bytes, sha256: row.sha256 }));
    const known = this.#draft ?? (await this.#remote.find(manifest));
    if (known) {
      const { differ } = compare(manifest, known.files);
      // Same names and lengths, other bytes: the folder was written anew since. Its upload is another one.
      if (differ.length && this.#draft) throw new Stop('up-differs', { name: differ.join(', ') }, { final: true });
      this.#remote.id = known.id;
      if (await this.#refresh()) {
        this.message = { key: 'up-resumed', passing: true };
        return;
      }
    }
    this.#remote.id = this.#draft = null;
    const files = await this.#remote.create(this.#title, manifest);
    this.#keepFolder();
    await this.#sending.adopt(files);
  }

  /** Asks the server what it has of the draft. False when there is no such draft any more. */
  async #refresh() {
    const files = await this.#remote.present();
    if (!files) return false;
    await this.#sending.adopt(files);
    this.#keepFolder();
    return true;
  }

  /** One tab sends; a second one would only take the files from the first, and the first from it. */
  async #hold() {
    if (this.#release || !navigator.locks) return;
    await new Promise((held, refused) => {
      navigator.locks.request(`assay-upload-${this.id}`, { ifAvailable: true }, (lock) => {
        if (!lock) return refused(new Stop('up-elsewhere'));
        held();
        return new Promise((release) => { this.#release = release; });
      }).catch(refused);
    });
  }

  /** Waits for somebody to say "submit". */
  #word() {
    this.#enter('whole');
    return new Promise((resolve) => { this.#asked = resolve; });
  }

  /** False when the server still misses a file. */
  async #submit() {
    this.#enter('submitting');
    try {
      await this.#remote.submit(document.documentElement.lang);
      return true;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const what = decide(error.status, error.code);
      if (what === 'gone') throw new Stop('up-gone');
      if (what === 'sent') return true;
      if (what === 'incomplete' && !this.#sending.healed) return false;
      throw error;
    }
  }

  #goOn() {
    setSendingDraft(this.id);
    this.#enter('uploading');
    this.#sending.pump();
  }

  #finish() {
    this.#enter('done');
    setSendingDraft(null);
    dropFolder(this.id);
    this.leave();
    return this.id;
  }

  #keepFolder() {
    if (this.#folder) keepFolder(this.id, this.#folder.handle, this.#folder.below);
  }

  #online = () => {
    this.#patience.wake();
    this.#sending.wake();
    if (this.phase === 'failed' && this.message?.key === 'up-network') this.run();
  };

  #offline = () => {
    if (this.phase === 'uploading') this.#troubled();
  };

  #troubled() {
    this.message = { key: navigator.onLine === false ? 'up-offline' : 'up-retrying', passing: true };
    this.#sending.forgetSpeed();
    this.#tell();
  }

  /** What was in the way is over. */
  #settled() {
    if (this.message?.passing) this.message = null;
  }

  #fail(error) {
    this.phase = 'failed';
    this.#sending.forgetSpeed();
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
    this.#sending.forgetSpeed();
    this.#tell();
  }
}
