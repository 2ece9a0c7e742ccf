// A submission's page, live: every event is the whole present state, so a lost one is made good by the next.

import { morphChildren, parse } from './morph.js';
import { call } from './upload/api.js';

const RETRY_SECONDS = 3;
const RETRY_MOST_SECONDS = 60;

class LiveSubmission extends HTMLElement {
  #source;
  #wait = RETRY_SECONDS;
  #step = '';

  connectedCallback() {
    this.#step = this.#now();
    if (this.dataset.events) this.#open();
    this.addEventListener('click', (event) => {
      const button = event.target.closest('[data-discard]');
      if (button) this.#discard(button);
    });
  }

  async #discard(button) {
    button.disabled = true;
    try {
      await call(button.dataset.discard, undefined, 'DELETE');
      location.assign('/submissions');
    } catch {
      // Gone already, or sealed meanwhile: the page says which.
      location.reload();
    }
  }

  disconnectedCallback() {
    this.#source?.close();
  }

  #open() {
    this.#source = new EventSource(this.dataset.events);
    this.#source.addEventListener('open', () => {
      this.#wait = RETRY_SECONDS;
      this.#say('open');
    });
    this.#source.addEventListener('snapshot', (event) => this.#show(JSON.parse(event.data)));
    this.#source.addEventListener('error', () => {
      this.#say('lost');
      // The browser comes back by itself after a broken connection, but not after an error answer.
      if (this.#source.readyState !== EventSource.CLOSED) return;
      setTimeout(() => this.#open(), this.#wait * 1000);
      this.#wait = Math.min(this.#wait * 2, RETRY_MOST_SECONDS);
    });
  }

  #show({ stages, report, done }) {
    morphChildren(this.#part('stages'), parse(stages));
    // Finished without a report: it failed, and what is said beside is all there is to say.
    if (report || done) morphChildren(this.#part('report'), parse(report ?? ''));
    const step = this.#now();
    // Read aloud once a step, not once a heartbeat.
    if (step !== this.#step) {
      this.#step = step;
      this.#part('said').textContent = this.#part('stages').querySelector('.now').innerText;
    }
    if (done) {
      this.#source.close();
      this.#say('over');
    }
  }

  #now() {
    const now = this.#part('stages')?.querySelector('.now');
    return now ? `${now.dataset.state} ${now.dataset.step}` : '';
  }

  #say(what) {
    const line = this.#part('live');
    if (!line) return;
    line.dataset.live = what;
    line.textContent = this.dataset[what];
  }

  #part(name) {
    return this.querySelector(`[data-part="${name}"]`);
  }
}

customElements.define('live-submission', LiveSubmission);
