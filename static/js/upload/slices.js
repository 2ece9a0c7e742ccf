// What the server needs of a file to judge it: of a safetensors file its header, of a small text the whole.

/** Longest header sent. A 32B model's is under 200 KB; what is longer than this, the server refuses by its length alone. */
const HEADER_MOST = 8 * 2 ** 20;
/** Longest text sent, and most text in all: base64 of it must fit into the precheck's 32 MiB beside the headers. */
const TEXT_MOST = 14 * 2 ** 20;
const TEXTS_MOST = 18 * 2 ** 20;
/** The texts a verdict depends on. Others (merges.txt, README.md) would only use up the room. */
const TEXT_NAMES =
  /^((generation_|quantize_|quantization_|hf_quant_|tokenizer_)?config\.json|tokenizer\.json|chat_template\.(json|jinja)|recipe\.ya?ml|.*\.safetensors\.index\.json)$/;

/** One file as POST /api/v1/precheck wants it: `{name, bytes, header_base64? | text_base64?}`. */
export async function slice(name, file, budget) {
  const part = { name, bytes: file.size };
  if (/\.safetensors$/i.test(name)) {
    part.header_base64 = await base64(file.slice(0, await headerEnd(file)));
  } else if (TEXT_NAMES.test(name) && file.size <= Math.min(TEXT_MOST, budget.left)) {
    budget.left -= file.size;
    part.text_base64 = await base64(file);
  }
  return part;
}

/** All files, in order; `progress(done, total)` after each. */
export async function slices(files, progress = () => {}) {
  const budget = { left: TEXTS_MOST };
  const parts = [];
  for (const { name, file } of files) {
    parts.push(await slice(name, file, budget).catch((cause) => { throw new UnreadableFile(name, cause); }));
    progress(parts.length, files.length);
  }
  return parts;
}

/** A file that the browser could not read: moved, changed or on a disk that went away. */
export class UnreadableFile extends Error {
  constructor(name, cause) {
    super(name, { cause });
    this.name = 'UnreadableFile';
    this.file = name;
  }
}

/** Where a safetensors header ends: 8 bytes of length n, then n bytes of JSON. An impossible n is for the server to name. */
export async function headerEnd(file) {
  const first = new DataView(await file.slice(0, 8).arrayBuffer());
  if (first.byteLength < 8) return first.byteLength;
  const length = first.getBigUint64(0, true);
  const possible = length <= BigInt(HEADER_MOST) && length <= BigInt(file.size - 8);
  return possible ? 8 + Number(length) : 8;
}

/** Base64 by the browser's own encoder: a loop over megabytes would stall the page. */
export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(',') + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
