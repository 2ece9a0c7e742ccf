// Receives a File; answers {bytes} now and then, and {digest} (hex) or {error} at the end.

import { sha256 } from '../../vendor/noble-hashes@2.4.0/sha2.js';

const CHUNK = 4 * 2 ** 20;

self.addEventListener('message', async ({ data: file }) => {
  try {
    const hash = sha256.create();
    for (let at = 0; at < file.size; at += CHUNK) {
      hash.update(new Uint8Array(await file.slice(at, at + CHUNK).arrayBuffer()));
      self.postMessage({ bytes: Math.min(at + CHUNK, file.size) });
    }
    const digest = [...hash.digest()].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    self.postMessage({ digest });
  } catch (error) {
    self.postMessage({ error: String(error?.message ?? error) });
  }
});
