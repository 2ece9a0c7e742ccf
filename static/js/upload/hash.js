// SHA-256 of large files, off the page's thread. WebCrypto cannot hash a stream, so the worker has its own.

/** Hashes files one after another. `end()` stops at once. */
export class Hasher {
  #worker = new Worker(new URL('./hash-worker.js', import.meta.url), { type: 'module' });
  #pending = null;

  constructor() {
    this.#worker.addEventListener('message', ({ data }) => this.#hear(data));
    this.#worker.addEventListener('error', (event) => this.#pending?.reject(new Error(event.message || 'hash worker')));
  }

  /** The digest as hex; `progress(bytes)` on the way. */
  hash(file, progress) {
    return new Promise((resolve, reject) => {
      this.#pending = { resolve, reject, progress };
      this.#worker.postMessage(file);
    });
  }

  end() {
    this.#worker.terminate();
  }

  #hear({ bytes, digest, error }) {
    if (error) this.#pending.reject(new Error(error));
    else if (digest) this.#pending.resolve(digest);
    else this.#pending.progress(bytes);
  }
}
