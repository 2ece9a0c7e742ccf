// Waits for networks and servers however long they take.

import { Refused, renewPage } from './api.js';
import { backoff, decide } from './retry.js';
import { Stop } from './stop.js';

/** Times the page's form token is renewed for one question. */
const MOST_RENEWALS = 2;

export class Patience {
  #asleep = new Set();
  #over = false;
  #troubled;
  #through;

  /** @param {{troubled: () => void, through: () => void}} how  called when it begins to wait, and when a later try got through */
  constructor({ troubled, through }) {
    this.#troubled = troubled;
    this.#through = through;
  }

  /** Asks again for as long as the server cannot be reached or is busy; renews form tokens on the way. `act` gets the number of the try. */
  async persist(act) {
    for (let tries = 1, renewals = 0; ; tries++) {
      try {
        const answer = await act(tries);
        if (tries > 1) this.#through();
        return answer;
      } catch (error) {
        if (this.#over || !(error instanceof Refused)) throw error;
        const what = decide(error.status, error.code);
        if ((what === 'page' || what === 'token') && renewals++ < MOST_RENEWALS && (await renewPage())) continue;
        if (what === 'token') throw new Stop('up-session', {}, { session: true });
        if (what !== 'wait') throw error;
        this.#troubled();
        await this.#sleep(backoff(tries, error.retryAfter));
        if (this.#over) throw error;
      }
    }
  }

  /** The network is back: nobody waits any longer. */
  wake() {
    for (const wake of [...this.#asleep]) wake();
  }

  /** Gives up: what waits ends with its last error. */
  end() {
    this.#over = true;
    this.wake();
  }

  #sleep(ms) {
    return new Promise((resolve) => {
      const wake = () => { clearTimeout(timer); this.#asleep.delete(wake); resolve(); };
      const timer = setTimeout(wake, ms);
      this.#asleep.add(wake);
    });
  }
}
