// What kind of folder was chosen: the checkpoint itself, its parent, several of them, an archive, a pickle. No browser in here.

const ARCHIVE = /\.(zip|tar|tgz|tar\.(gz|xz|bz2|zst)|7z|rar)$/i;
const PICKLE = /\.(bin|pt|pth|ckpt|pkl)$/i;
const WEIGHTS = /\.safetensors$/i;

/** Path without its last part; '' for what lies in the chosen folder itself. */
function folderOf(path) {
  const at = path.lastIndexOf('/');
  return at < 0 ? '' : path.slice(0, at);
}

function hidden(path) {
  return path.split('/').some((part) => part.startsWith('.'));
}

/**
 * Says what was chosen.
 * @param {{path: string, file: File | null}[]} entries paths relative to what was chosen, folders end with `/`
 * @returns `{kind: 'checkpoint' | 'empty' | 'inside' | 'several' | 'archive' | 'pickle' | 'gguf' | 'adapter' | 'other', folders?, name?}`:
 *   `inside` one folder below is the checkpoint, `several` more than one is; `folders` are their paths
 */
export function diagnose(entries) {
  const files = entries.filter(({ path }) => !path.endsWith('/') && !hidden(path));
  if (files.length === 0) return { kind: 'empty' };
  const folders = new Map();
  for (const { path } of files) {
    const names = folders.get(folderOf(path)) ?? [];
    names.push(path.slice(path.lastIndexOf('/') + 1));
    folders.set(folderOf(path), names);
  }
  const weights = (names) => names.some((name) => WEIGHTS.test(name) && !/^adapter_/i.test(name));
  const isCheckpoint = (names) => weights(names) && names.includes('config.json');
  const top = folders.get('') ?? [];
  // Anything with weights of its own is held against the rules as it is: the verdict names what is missing.
  if (weights(top)) return { kind: 'checkpoint' };
  const below = [...folders].filter(([path, names]) => path !== '' && isCheckpoint(names)).map(([path]) => path).sort();
  if (below.length === 1) return { kind: 'inside', folders: below };
  if (below.length > 1) return { kind: 'several', folders: below };
  const all = files.map(({ path }) => path.slice(path.lastIndexOf('/') + 1));
  const first = (pattern) => all.find((name) => pattern.test(name));
  if (first(/^adapter_(config\.json|model\.safetensors)$/i)) return { kind: 'adapter', name: first(/^adapter_/i) };
  if (first(/\.gguf$/i)) return { kind: 'gguf', name: first(/\.gguf$/i) };
  if (first(PICKLE)) return { kind: 'pickle', name: first(PICKLE) };
  if (first(ARCHIVE)) return { kind: 'archive', name: first(ARCHIVE) };
  if (top.includes('config.json')) return { kind: 'checkpoint' };
  return { kind: 'other' };
}

/** The entries of one folder below, as if it had been chosen. */
export function within(entries, folder) {
  const prefix = `${folder}/`;
  return entries.filter(({ path }) => path.startsWith(prefix)).map(({ path, file }) => ({ path: path.slice(prefix.length), file }));
}
