// Numbers as the server writes them (views/format.rs).

/** A size in the unit that suits it: `512 B`, `38.31 kB`, `971.18 MB`, `2.56 GB`. */
export function size(bytes) {
  if (bytes < 1e3) return `${bytes} B`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(2)} kB`;
  if (bytes < 1e9) return `${(bytes / 1e6).toFixed(2)} MB`;
  return `${(bytes / 1e9).toFixed(2)} GB`;
}

/** A share with one decimal: `43.2 %`. */
export function percent(part, whole) {
  return whole > 0 ? `${((part / whole) * 100).toFixed(1)} %` : '–';
}

/** Seconds, rounded so that the last figure does not dance: `8 s`, `2 min 10 s`, `1 h 05 min`; `2분 10초` in Korean. */
export function duration(seconds, lang = 'en') {
  if (!Number.isFinite(seconds) || seconds < 0) return '–';
  const korean = lang === 'ko';
  const two = (n) => String(n).padStart(2, '0');
  if (seconds < 60) return `${Math.ceil(seconds)}${korean ? '초' : ' s'}`;
  if (seconds < 3600) {
    const tens = Math.ceil(seconds / 10) * 10;
    const [m, s] = [Math.floor(tens / 60), tens % 60];
    return korean ? `${m}분 ${s}초` : `${m} min ${two(s)} s`;
  }
  const minutes = Math.ceil(seconds / 60);
  const [h, m] = [Math.floor(minutes / 60), minutes % 60];
  return korean ? `${h}시간 ${m}분` : `${h} h ${two(m)} min`;
}

/** Fills `{holes}` of a sentence. */
export function fillIn(sentence, values = {}) {
  return sentence.replace(/\{(\w+)\}/g, (hole, name) => (name in values ? String(values[name]) : hole));
}
