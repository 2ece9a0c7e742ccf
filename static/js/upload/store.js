// What this browser remembers between visits: digests of files it has read, and folders it was allowed to read.
//
// All of it only saves work. Where storage is forbidden or full, files are hashed again and folders chosen again.

const NAME = 'assay-uploads';
/** Digests of files that were not asked for in this long are dropped. */
const KEEP_MS = 30 * 24 * 3600 * 1000;

let opening = null;

function open() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore('digests');
      request.result.createObjectStore('folders');
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function within(store, mode, act) {
  try {
    const database = await open();
    return await new Promise((resolve, reject) => {
      const request = act(database.transaction(store, mode).objectStore(store));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } catch {
    return undefined;
  }
}

/** A file that has this name, length and time of change is taken to have the digest it had; the server checks every digest anyway. */
function key(file) {
  return `${file.name}:${file.size}:${file.lastModified}`;
}

/** The digest computed earlier (hex), or null. */
export async function knownDigest(file) {
  const row = await within('digests', 'readonly', (store) => store.get(key(file)));
  return row && Date.now() - row.at < KEEP_MS ? row.sha256 : null;
}

export function keepDigest(file, sha256) {
  return within('digests', 'readwrite', (store) => store.put({ sha256, at: Date.now() }, key(file)));
}

export function dropDigest(file) {
  return within('digests', 'readwrite', (store) => store.delete(key(file)));
}

/** Keeps the folder a draft is sent from; `handle` is a FileSystemDirectoryHandle, `below` the folder in it. */
export function keepFolder(draft, handle, below = '') {
  return within('folders', 'readwrite', (store) => store.put({ handle, below }, draft));
}

/** `{handle, below}`, or null. */
export async function knownFolder(draft) {
  return (await within('folders', 'readonly', (store) => store.get(draft))) ?? null;
}

export function dropFolder(draft) {
  return within('folders', 'readwrite', (store) => store.delete(draft));
}

/** The draft this tab was sending when its page went away; null when it was paused or done. */
export function sendingDraft() {
  try { return sessionStorage.getItem('assay-sending'); } catch { return null; }
}

export function setSendingDraft(id) {
  try {
    if (id === null) sessionStorage.removeItem('assay-sending');
    else sessionStorage.setItem('assay-sending', id);
  } catch { /* see above */ }
}
