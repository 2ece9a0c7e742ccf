// SHA-256 of all files of a folder, off the page's thread, begun as soon as the folder is accepted: most are known by the time
// somebody has read the verdict. Digests are remembered, so a reload does not read gigabytes again.

import { Hasher } from './hash.js';
import { dropDigest, keepDigest, knownDigest } from './store.js';
import { SpeedMeter } from './speed.js';

/** Files read at the same time: one disk, and a thread left for the page. */
const AT_ONCE = 2;

export class Checksums {
  /** Rows `{name, file, bytes, hashed, sha256}` in the order given. */
  rows;
  /** Called after every change. */
  tell = () => {};
  #hashers = new Set();
  #meter = new SpeedMeter();
  #running = null;
  #over = false;

  /** @param {{name: string, file: File}[]} files */
  constructor(files) {
    this.rows = files.map(({ name, file }) => ({ name, file, bytes: file.size, hashed: 0, sha256: null }));
  }

  get total() {
    return this.rows.reduce((sum, row) => sum + row.bytes, 0);
  }

  get done() {
    return this.rows.reduce((sum, row) => sum + row.hashed, 0);
  }

  get speed() {
    return this.#meter.speed();
  }

  get left() {
    return this.#meter.left(this.total - this.done);
  }

  /** Computes what is missing. Every caller gets the same run; after a failure the next call tries again. */
  run() {
    this.#running ??= this.#all().catch((error) => {
      this.#running = null;
      throw error;
    });
    return this.#running;
  }

  /** Reads a file again, whatever is remembered of it: gives its digest as it is now. */
  async again(row) {
    await dropDigest(row.file);
    row.hashed = 0;
    row.sha256 = null;
    await this.#hash(row);
    return row.sha256;
  }

  /** Stops for good. */
  end() {
    this.#over = true;
    for (const hasher of this.#hashers) hasher.end();
    this.#hashers.clear();
  }

  async #all() {
    for (const row of this.rows) {
      row.sha256 ??= await knownDigest(row.file);
      if (row.sha256) row.hashed = row.bytes;
    }
    this.tell();
    const queue = this.rows.filter((row) => !row.sha256);
    const lane = async () => {
      for (let row = queue.shift(); row && !this.#over; row = queue.shift()) await this.#hash(row);
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, queue.length) }, lane));
  }

  async #hash(row) {
    const hasher = new Hasher();
    this.#hashers.add(hasher);
    try {
      row.sha256 = await hasher.hash(row.file, (bytes) => {
        row.hashed = bytes;
        this.#meter.add(this.done);
        this.tell();
      });
      row.hashed = row.bytes;
      await keepDigest(row.file, row.sha256);
      this.tell();
    } catch (cause) {
      throw new Unreadable(row.name, { cause });
    } finally {
      hasher.end();
      this.#hashers.delete(hasher);
    }
  }
}

/** A file changed on disk after it was chosen, or its disk went away. */
export class Unreadable extends Error {
  constructor(name, options) {
    super(name, options);
    this.file = name;
  }
}
