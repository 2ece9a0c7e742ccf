// The files of a draft on their way, several at once: what begins, what is tried again, what a person may hold back.

import { Refused } from './api.js';
import { nextToSend, place } from './plan.js';
import { backoff, decide } from './retry.js';
import { Sender } from './sender.js';
import { SpeedMeter } from './speed.js';
import { Sent, Stop } from './stop.js';

/** One PATCH. Below the body limits of common proxies (100 MB), and a lost answer costs seconds. */
const CHUNK_BYTES = 16 * 2 ** 20;
/** A proxy that refuses even this much is not in our power. */
const LEAST_CHUNK_BYTES = 256 * 1024;
/** Times another browser may take the same file over before this one leaves it to that one. */
const MOST_TAKEN = 3;
/** Times a token is renewed for a file that gets no byte through in between. */
const MOST_RENEWALS = 3;
/** What is on the line or will be without a person. */
const UNDER_WAY = ['waiting', 'sending', 'retrying'];

export class Sending {
  /** `{name, bytes, done, state, origin, …}`; `state`: `waiting`, `sending`, `paused`, `retrying`, `checking`, `complete`, `here` */
  files;
  #remote;
  #checksums;
  #chunkBytes;
  #active;
  #news;
  #meter = new SpeedMeter();
  #outcome = null;

  /**
   * @param {{name: string, file: File}[]} files
   * @param {{remote: Remote, checksums: Checksums, chunkBytes: number, active: () => boolean, news: {changed: () => void,
   *   moved: () => void, troubled: () => void, damaged: (name: string) => void}}} how  nothing begins unless `active`
   */
  constructor(files, { remote, checksums, chunkBytes, active, news }) {
    this.files = files.map(({ name, file }) => ({
      name, file, bytes: file.size, done: 0, state: 'waiting', origin: null, place: null, sender: null, timer: 0,
      tries: 0, taken: 0, renewals: 0, healed: false,
    }));
    this.#remote = remote;
    this.#checksums = checksums;
    this.#chunkBytes = chunkBytes || CHUNK_BYTES;
    this.#active = active;
    this.#news = news;
  }

  get total() {
    return this.files.reduce((sum, file) => sum + file.bytes, 0);
  }

  /** Bytes that are safe on the server. */
  get done() {
    return this.files.reduce((sum, file) => sum + file.done, 0);
  }

  /** Bytes a second now, or null. */
  get speed() {
    return this.#meter.speed();
  }

  /** Seconds left at that speed, or null. */
  get left() {
    return this.#meter.left(this.total - this.done);
  }

  /** Whether bytes are on their way. */
  get moving() {
    return this.files.some((file) => file.state === 'sending');
  }

  /** Whether a file had to be sent anew because it arrived damaged. */
  get healed() {
    return this.files.some((file) => file.healed);
  }

  /** What was measured says nothing about what comes now. */
  forgetSpeed() {
    this.#meter.reset();
  }

  /** Takes over what the server has, and declares anew what it gave up. */
  async adopt(rows) {
    const places = new Map(rows.map((row) => [row.name, place(row)]));
    for (const file of this.files) {
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
    for (const file of this.files) {
      if (['corrupt', 'expired'].includes(file.place.state)) await this.#declare(file);
    }
  }

  /** Sends everything. Resolves when all is whole. */
  all() {
    return new Promise((resolve, reject) => {
      this.#outcome = { resolve, reject };
      this.pump();
    });
  }

  /** Begins what can begin, and notices the end. */
  pump() {
    if (!this.#active() || !this.#outcome) return;
    for (const file of nextToSend(this.files)) this.#send(file);
    if (this.files.every((file) => file.state === 'complete' || file.state === 'here')) this.#outcome.resolve();
  }

  /** Takes everything off the line; what was held back stays so. */
  pause() {
    for (const file of this.files) {
      if (file.state === 'sending' || file.state === 'retrying') rest(file, 'waiting');
    }
  }

  /** Nothing is held back any more. */
  release() {
    for (const file of this.files) if (file.state === 'paused') file.state = 'waiting';
  }

  /** Holds one file back; the others go on. Null when it cannot be; else whether anything is `left` to do. */
  hold(name) {
    const file = this.#find(name);
    if (!UNDER_WAY.includes(file?.state)) return null;
    rest(file, 'paused');
    this.#meter.reset();
    this.pump();
    return { left: this.files.some(({ state }) => UNDER_WAY.includes(state) || state === 'checking') };
  }

  /** Lets one file go on that was held back. False when it was not. */
  letGo(name) {
    const file = this.#find(name);
    if (file?.state !== 'paused') return false;
    file.state = 'waiting';
    return true;
  }

  /** The network is back: nothing waits any longer. */
  wake() {
    for (const file of this.files) this.#again(file);
  }

  /** Stops for good. */
  end() {
    for (const file of this.files) rest(file, file.state);
    this.#outcome?.reject(new Stop('up-paused'));
  }

  #find(name) {
    return this.files.find((file) => file.name === name);
  }

  #send(file) {
    file.state = 'sending';
    const before = file.done;
    const sender = new Sender(file.file, {
      url: file.place.url,
      chunkBytes: this.#chunkBytes,
      token: () => this.#remote.token,
      progress: (sent) => {
        if (file.sender !== sender) return;
        // The first news is the server's offset. It may lie behind what was believed sent.
        file.done = sent;
        if (sent > before) {
          Object.assign(file, { tries: 0, taken: 0, renewals: 0 });
          this.#news.moved();
        }
        this.#meter.add(this.done);
        this.#news.changed();
      },
    });
    file.sender = sender;
    sender.ended.then((whole) => {
      if (!whole || file.sender !== sender) return;
      Object.assign(file, { sender: null, state: 'complete', done: file.bytes });
      this.#news.moved();
      this.#news.changed();
      this.pump();
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
    this.#news.changed();
    if (what === 'token' || what === 'page') {
      if (++file.renewals > MOST_RENEWALS) throw new Stop('up-session', {}, { session: true });
      await this.#remote.renew();
    } else if (what === 'gone') {
      const row = (await this.#remote.present())?.map(place).find((row) => row.name === file.name);
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
    this.#news.changed();
    this.pump();
  }

  /** Tries a file again after a wait; the network's return ends the wait. */
  #later(file, retryAfter = null) {
    file.tries += 1;
    file.state = 'retrying';
    this.#news.troubled();
    file.timer = setTimeout(() => this.#again(file), backoff(file.tries, retryAfter));
  }

  #again(file) {
    clearTimeout(file.timer);
    if (file.state !== 'retrying') return;
    file.state = 'waiting';
    this.pump();
    this.#news.changed();
  }

  /** Bytes arrived that are not the declared ones: changed here, or damaged on the way? */
  async #heal(file) {
    const row = this.#sum(file);
    const declared = file.place.sha256 ?? row.sha256;
    if ((await this.#checksums.again(row)) !== declared) throw new Stop('up-changed', { name: file.name }, { final: true });
    if (file.healed) throw new Stop('up-corrupt', { name: file.name }, { final: true });
    file.healed = true;
    await this.#declare(file);
    this.#news.damaged(file.name);
  }

  /** A new address for a file whose earlier bytes the server gave up. */
  async #declare(file) {
    file.place = await this.#remote.declare(file, this.#sum(file).sha256);
    const whole = file.place.state === 'complete';
    Object.assign(file, { state: whole ? 'here' : 'waiting', origin: file.place.origin, done: whole ? file.bytes : 0 });
  }

  #sum(file) {
    return this.#checksums.rows.find((row) => row.name === file.name);
  }

  #halt(error) {
    for (const file of this.files) {
      if (['sending', 'retrying', 'checking'].includes(file.state)) rest(file, 'waiting');
    }
    this.#outcome?.reject(error);
  }
}

/** Takes a file off the line. */
function rest(file, state) {
  clearTimeout(file.timer);
  const sender = file.sender;
  Object.assign(file, { sender: null, state });
  sender?.stop();
}
