// From what a person chose or dropped to the files of a submission: the files of one folder, without its subfolders.

/** Most entries read from a folder: whoever drops a home directory by mistake is told so, not kept waiting. */
const MOST_ENTRIES = 2000;
/** How deep a folder is looked into: a model hub's cache keeps a checkpoint three folders down. */
const DEPTH = 4;

/**
 * Sorts files into those of the folder itself and those left out (subfolders, hidden files).
 * @param {{path: string, file: File}[]} entries paths relative to what was chosen, `/`-separated, without the folder's name
 */
export function choose(entries) {
  const files = [];
  const skipped = [];
  for (const { path, file } of entries) {
    const hidden = path.split('/').some((part) => part.startsWith('.'));
    if (path.includes('/') || hidden) skipped.push(path);
    else files.push({ name: path, file });
  }
  files.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  return { files, skipped };
}

/** What was left out, a subfolder as one name, in the order met. */
export function leftOut(skipped) {
  return [...new Set(skipped.map((path) => (path.includes('/') ? `${path.split('/')[0]}/` : path)))];
}

/** The entries of an `<input type="file">`, with or without `webkitdirectory`. */
export function fromInput(input) {
  return [...input.files].map((file) => {
    // "folder/name" when a folder was chosen, "" when files were.
    const path = file.webkitRelativePath ? file.webkitRelativePath.split('/').slice(1).join('/') : file.name;
    return { path, file };
  });
}

/**
 * The entries of a drop, one folder or loose files, and the folder's handle where the browser gives one. Must be called inside
 * the drop event: what it carries is gone afterwards.
 */
export function fromDrop(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === 'file');
  const roots = items.map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const single = items.length === 1 && roots[0]?.isDirectory ? items[0].getAsFileSystemHandle?.() : null;
  const handle = Promise.resolve(single).then((found) => (found?.kind === 'directory' ? found : null)).catch(() => null);
  const read = async () => {
    const entries = [];
    for (const root of roots) {
      if (root.isFile) entries.push({ path: root.name, file: await fileOf(root) });
      else await readFolder(root, '', entries, DEPTH);
    }
    return entries;
  };
  return { entries: read(), handle };
}

async function readFolder(folder, prefix, entries, depth) {
  const reader = folder.createReader();
  // A reader answers in portions until one is empty.
  for (;;) {
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (portion.length === 0) return;
    for (const entry of portion) {
      if (entries.length >= MOST_ENTRIES) return;
      const path = prefix + entry.name;
      if (!entry.isDirectory) entries.push({ path, file: await fileOf(entry) });
      // A subfolder's files are no part of a submission, but where the checkpoint lies in one it is found.
      else if (depth > 0 && !entry.name.startsWith('.')) await readFolder(entry, `${path}/`, entries, depth - 1);
      else entries.push({ path: `${path}/`, file: null });
    }
  }
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}

/** The entries below a FileSystemDirectoryHandle. */
export async function fromHandle(handle) {
  const entries = [];
  const read = async (folder, prefix, depth) => {
    for await (const [name, entry] of folder.entries()) {
      if (entries.length >= MOST_ENTRIES) return;
      if (entry.kind === 'file') entries.push({ path: prefix + name, file: await entry.getFile() });
      else if (depth > 0 && !name.startsWith('.')) await read(entry, `${prefix}${name}/`, depth - 1);
      else entries.push({ path: `${prefix}${name}/`, file: null });
    }
  };
  await read(handle, '', DEPTH);
  return entries;
}

/** Asks for a folder, where the browser can give one that outlives a reload. Null when the person decided otherwise. */
export async function askFolder() {
  try {
    return await window.showDirectoryPicker({ id: 'assay-checkpoint', mode: 'read' });
  } catch (error) {
    if (error.name === 'AbortError') return null;
    throw error;
  }
}

/** Whether a folder of an earlier visit may be read: `granted`, `prompt` (asking needs a click) or `denied`. */
export async function permission(handle, { ask = false } = {}) {
  try {
    if (ask) return await handle.requestPermission({ mode: 'read' });
    return await handle.queryPermission({ mode: 'read' });
  } catch {
    return 'denied';
  }
}
