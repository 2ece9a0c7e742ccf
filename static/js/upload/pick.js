// From what a person chose or dropped to the files of a submission: the files of one folder, without its subfolders.

/** Most entries read from a dropped folder: whoever drops a home directory by mistake is told so, not kept waiting. */
const MOST_ENTRIES = 2000;

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

/** The entries of an `<input type="file">`, with or without `webkitdirectory`. */
export function fromInput(input) {
  return [...input.files].map((file) => {
    // "folder/name" when a folder was chosen, "" when files were.
    const path = file.webkitRelativePath ? file.webkitRelativePath.split('/').slice(1).join('/') : file.name;
    return { path, file };
  });
}

/** The entries of a drop: one folder, or loose files. Must be called inside the drop event. */
export async function fromDrop(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const entries = [];
  for (const root of roots) {
    if (root.isFile) entries.push({ path: root.name, file: await fileOf(root) });
    else await readFolder(root, '', entries);
  }
  return entries;
}

async function readFolder(folder, prefix, entries) {
  const reader = folder.createReader();
  // A reader answers in portions until one is empty.
  for (;;) {
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (portion.length === 0) return;
    for (const entry of portion) {
      if (entries.length >= MOST_ENTRIES) return;
      const path = prefix + entry.name;
      // Not descended into: its files do not belong, but that it is there is said.
      if (entry.isDirectory) entries.push({ path: `${path}/`, file: null });
      else entries.push({ path, file: await fileOf(entry) });
    }
  }
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
