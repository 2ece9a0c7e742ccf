// One file on its way: one try, from wherever the server stands. Trying again is the transfer's business.
//
// The files are created by our own API and tus-js-client gets `uploadUrl` without `endpoint`: with an endpoint, any failed HEAD
// (a deploy, an ended session) would make it start again from zero. It asks for the offset (HEAD) before every try.

import '../../vendor/tus-js-client@4.3.1/tus.min.js';
import { csrf } from './api.js';

/** A line on which nothing has moved for this long is dead, whatever the browser believes. */
const SILENT_MS = 30_000;
/** After the last byte the server still hashes the whole file. */
const SETTLING_MS = 180_000;

/** Why a try ended: what `decide` of retry.js wants to know. */
export class Broken extends Error {
  constructor(status, body = null, { retryAfter = null, unreadable = false } = {}) {
    super(body?.code ?? `http-${status}`);
    Object.assign(this, { status, code: body?.code ?? '', body, retryAfter, unreadable });
  }
}

export class Sender {
  #upload;
  #end;
  #watch = 0;
  /** Resolves to true when the file is whole on the server, to false when stopped; rejects with `Broken`. */
  ended;

  /**
   * @param {File} file
   * @param {{url: string, chunkBytes: number, token: () => string | null, progress: (bytes: number) => void}} how
   */
  constructor(file, { url, chunkBytes, token, progress }) {
    this.ended = new Promise((resolve, reject) => { this.#end = { resolve, reject }; });
    const alive = (bytes) => {
      clearTimeout(this.#watch);
      this.#watch = setTimeout(() => this.#silent(), bytes >= file.size ? SETTLING_MS : SILENT_MS);
    };
    this.#upload = new window.tus.Upload(file, {
      uploadUrl: url,
      uploadSize: file.size,
      chunkSize: chunkBytes,
      retryDelays: null,
      storeFingerprintForResuming: false,
      onBeforeRequest: (request) => {
        alive(0);
        // Taken anew for every request: both may have been renewed since the last one.
        request.setHeader('x-csrf-token', csrf());
        if (token()) request.setHeader('authorization', `Bearer ${token()}`);
      },
      onProgress: (sent) => {
        alive(sent);
        progress(sent);
      },
      onSuccess: () => {
        clearTimeout(this.#watch);
        this.#end.resolve(true);
      },
      onError: (error) => {
        clearTimeout(this.#watch);
        this.#end.reject(broken(error));
      },
    });
    alive(0);
    this.#upload.start();
  }

  /** Stops. What arrived stays on the server. */
  stop() {
    clearTimeout(this.#watch);
    this.#upload.abort().catch(() => {});
    this.#end.resolve(false);
  }

  #silent() {
    this.#upload.abort().catch(() => {});
    this.#end.reject(new Broken(0));
  }
}

function broken(error) {
  const cause = error.causingError ?? error;
  if (cause?.name === 'NotReadableError' || cause?.name === 'NotFoundError') return new Broken(0, null, { unreadable: true });
  const response = error.originalResponse;
  if (!response) return new Broken(0);
  let body = null;
  try { body = JSON.parse(response.getBody()); } catch { /* a proxy's own page, or a HEAD */ }
  return new Broken(response.getStatus(), body, { retryAfter: response.getHeader('Retry-After') ?? null });
}
