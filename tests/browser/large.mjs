// A checkpoint large enough to be interrupted: the base in float32. Every value is the base's, so it is accepted.
import fs from "node:fs";
import path from "node:path";

/** Writes the folder `to` from the fixtures: `model.safetensors` has about 10 MB. */
export function large(fixtures, to) {
  fs.cpSync(path.join(fixtures, "fp16"), to, { recursive: true });
  const base = fs.readFileSync(path.join(fixtures, "base", "model.safetensors"));
  const length = Number(base.readBigUInt64LE(0));
  const header = JSON.parse(base.subarray(8, 8 + length));
  const parts = [];
  let at = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [begin, end] = tensor.data_offsets;
    const narrow = base.subarray(8 + length + begin, 8 + length + end);
    if (tensor.dtype !== "BF16") throw new Error(`${name} is ${tensor.dtype}`);
    // A bfloat16 is the upper half of a float32.
    const wide = Buffer.alloc(narrow.length * 2);
    for (let i = 0; i < narrow.length; i += 2) {
      wide[2 * i + 2] = narrow[i];
      wide[2 * i + 3] = narrow[i + 1];
    }
    header[name] = { ...tensor, dtype: "F32", data_offsets: [at, at + wide.length] };
    at += wide.length;
    parts.push(wide);
  }
  let text = JSON.stringify(header);
  text += " ".repeat((8 - (text.length % 8)) % 8);
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path.join(to, "model.safetensors"), Buffer.concat([head, Buffer.from(text), ...parts]));
  const config = JSON.parse(fs.readFileSync(path.join(to, "config.json")));
  for (const key of ["torch_dtype", "dtype"]) if (key in config) config[key] = "float32";
  fs.writeFileSync(path.join(to, "config.json"), JSON.stringify(config, null, 2));
}
