// How fast it goes: over the last seconds, so that the figure is calm and still follows a change.

const WINDOW_MS = 8000;
const LEAST_MS = 800;

export class SpeedMeter {
  #samples = [];

  /** Notes that `bytes` are done by now. */
  add(bytes, now = performance.now()) {
    this.#samples.push({ bytes, now });
    while (this.#samples.length > 2 && now - this.#samples[0].now > WINDOW_MS) this.#samples.shift();
  }

  /** Bytes a second, or null while that cannot be said. */
  speed() {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || last.now - first.now < LEAST_MS || last.bytes <= first.bytes) return null;
    return ((last.bytes - first.bytes) / (last.now - first.now)) * 1000;
  }

  /** Forgets everything: after a pause, the time of the pause must not count. */
  reset() {
    this.#samples = [];
  }
}
