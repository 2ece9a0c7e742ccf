// How fast it goes: over the last seconds, so that the figure is calm and still follows a change.

const WINDOW_MS = 8000;
const LEAST_MS = 800;
/** Weight of a new reading in the time left: a burst of one second must not move the promise by minutes. */
const FOLLOW = 0.15;
/** The time left is taken anew this often. */
const EVERY_MS = 1000;

export class SpeedMeter {
  #samples = [];
  #calm = null;
  #readAt = -Infinity;

  /** Notes that `bytes` are done by now. */
  add(bytes, now = performance.now()) {
    this.#samples.push({ bytes, now });
    while (this.#samples.length > 2 && now - this.#samples[0].now > WINDOW_MS) this.#samples.shift();
    const speed = this.speed();
    if (speed === null || now - this.#readAt < EVERY_MS) return;
    this.#readAt = now;
    this.#calm = this.#calm === null ? speed : this.#calm + (speed - this.#calm) * FOLLOW;
  }

  /** Bytes a second, or null while that cannot be said. */
  speed() {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || last.now - first.now < LEAST_MS || last.bytes <= first.bytes) return null;
    return ((last.bytes - first.bytes) / (last.now - first.now)) * 1000;
  }

  /** Seconds that `bytes` more will take, by a speed that follows slowly; null while that cannot be said. */
  left(bytes) {
    return this.#calm && this.speed() !== null ? bytes / this.#calm : null;
  }

  /** Forgets everything: after a pause, the time of the pause must not count. */
  reset() {
    this.#samples = [];
    this.#calm = null;
    this.#readAt = -Infinity;
  }
}
