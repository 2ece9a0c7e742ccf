// A draft as the server has it: its id, the token that outlives the session, and what can be asked about its files.

import { call, Refused, renewPage } from './api.js';
import { presentDrafts } from './drafts.js';
import { findDraft, place } from './plan.js';
import { Sent, Stop } from './stop.js';

export class Remote {
  /** The submission's id, once there is one. */
  id = null;
  #token = null;
  #patience;
  #renewing = null;

  /** @param {Patience} patience  what waits until the server answers */
  constructor(patience) {
    this.#patience = patience;
  }

  /** The upload token now. */
  get token() {
    return this.#token;
  }

  /** The unfinished upload of these very files, if there is one. */
  async find(manifest) {
    return findDraft(manifest, await this.#patience.persist(presentDrafts));
  }

  /** Makes the draft. @returns what the server has of its files */
  async create(title, manifest) {
    const made = await this.#patience.persist(async (tries) => {
      // The answer to an earlier try may have been lost after the draft was made.
      const lost = tries > 1 ? findDraft(manifest, await presentDrafts()) : null;
      return lost ? this.#uploads(lost.id) : call('/api/v1/submissions', { title, files: manifest });
    });
    this.id = made.id;
    this.adopt(made);
    return made.files;
  }

  /** What the server has of the draft's files, or null when there is no such draft any more. */
  async present() {
    const present = await this.#patience.persist(() => this.#uploads(this.id));
    if (present) this.adopt(present);
    return present?.files ?? null;
  }

  /** Takes the token of an answer over. */
  adopt({ upload_token: token }) {
    this.#token = token ?? null;
  }

  /** A new address for a file whose earlier bytes the server gave up. */
  async declare({ name, bytes }, sha256) {
    const path = `/api/v1/submissions/${this.id}/files/${encodeURIComponent(name)}`;
    return place(await this.#patience.persist(() => this.#call(path, { bytes, sha256 }, 'PUT')));
  }

  /** A new upload token and form token, once for all files that ask. */
  renew() {
    this.#renewing ??= (async () => {
      this.#token = null;
      await renewPage();
      if (!(await this.present())) throw new Stop('up-gone');
    })().finally(() => { this.#renewing = null; });
    return this.#renewing;
  }

  /** Sends the submission. A rejection's weight comes drawn in the page's language. */
  submit(lang) {
    return this.#patience.persist(() => this.#call(`/api/v1/submissions/${this.id}/submit?drawn=${lang}`, {}));
  }

  /** Frees what the server has; one that is gone already is as good. */
  discard() {
    return this.#call(`/api/v1/submissions/${this.id}`, undefined, 'DELETE').catch(() => {});
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
}

function ifGone(error) {
  if (error instanceof Refused && (error.status === 404 || error.status === 410)) return null;
  throw error;
}
