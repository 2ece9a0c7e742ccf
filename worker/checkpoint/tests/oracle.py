"""The digests of tests/it/load.rs: sha256 over every matrix, dequantized to bfloat16, of the checkpoint folders given.

Written from the format's description in plain Python, independently of the crate. Order: layers 0.., q k v o gate up down in
each, then the embedding, then the head if it is its own. A row is its bfloat16 bit patterns, little-endian.
"""
import glob, hashlib, json, struct, sys

def tensors(folder):
    out = {}
    for path in glob.glob(folder + "/*.safetensors"):
        data = open(path, "rb").read()
        n = int.from_bytes(data[:8], "little")
        for name, t in json.loads(data[8:8 + n]).items():
            if name != "__metadata__":
                a, b = t["data_offsets"]
                out[name] = (t["dtype"], t["shape"], data[8 + n + a:8 + n + b])
    return out

def to_bf16(x):
    bits = struct.unpack("<I", struct.pack("<f", x))[0]
    low, high = bits & 0xFFFF, bits >> 16
    return high + (1 if low > 0x8000 or (low == 0x8000 and high & 1) else 0)

def floats(dtype, data):
    if dtype == "BF16":
        return [struct.unpack("<f", bytes(2) + data[i:i + 2])[0] for i in range(0, len(data), 2)]
    return [v for (v,) in struct.iter_unpack({"F16": "<e", "F32": "<f"}[dtype], data)]

def field(data, word, i, bits):
    return int.from_bytes(data[4 * word:4 * word + 4], "little") >> (bits * i) & ((1 << bits) - 1)

def float8(b):
    sign, e, m = -1 if b & 128 else 1, b >> 3 & 15, b & 7
    return sign * (m / 8 * 2.0**-6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7))

def float4(b):
    return (-1 if b & 8 else 1) * [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][b & 7]

def micro(t, name):
    """Float4, two a byte: groups of 16 with float8 scales and a divisor in f32, or of 32 with powers of two."""
    _, (out, half), data = t[name + ".weight_packed"]
    _, (_, groups), scales = t[name + ".weight_scale"]
    single = lambda x: struct.unpack("<f", struct.pack("<f", x))[0]
    divisor = t.get(name + ".weight_global_scale")
    if divisor:
        (divisor,) = struct.unpack("<f", divisor[2])
        scales = [single(float8(b) / divisor) for b in scales]
    else:
        scales = [2.0 ** (b - 127) for b in scales]
    rows = []
    for r in range(out):
        for c in range(2 * half):
            code = data[r * half + c // 2] >> (4 * (c % 2)) & 15
            rows.append(struct.pack("<H", to_bf16(single(float4(code) * scales[r * groups + c * groups // (2 * half)]))))
    return b"".join(rows)

def block(t, name):
    """Float8 with one scale for 128 x 128."""
    _, (out, cols), data = t[name + ".weight"]
    dtype, (_, across), scale = t[name + ".weight_scale"]
    scale = floats(dtype, scale)
    value = lambda r, c: to_bf16(float8(data[r * cols + c]) * scale[r // 128 * across + c // 128])
    return b"".join(struct.pack("<H", value(r, c)) for r in range(out) for c in range(cols))

def coded(t, name):
    """Codes of a byte each; one scale for the matrix, a row, or so many columns."""
    dtype, (out, cols), data = t[name + ".weight"]
    sdtype, shape, sdata = t[name + ".weight_scale"]
    scale, zero = floats(sdtype, sdata), t.get(name + ".weight_zero_point")
    groups = shape[1] if len(shape) == 2 else 1
    signed = lambda b: b - 256 if b > 127 else b
    value = signed if dtype == "I8" else float8
    rows = []
    for r in range(out):
        for c in range(cols):
            k = r * groups + c // (cols // groups) if len(scale) > 1 else 0
            z = signed(zero[2][k]) if zero else 0
            rows.append(struct.pack("<H", to_bf16((value(data[r * cols + c]) - z) * scale[k])))
    return b"".join(rows)

def matrix(t, name):
    if name + ".weight" in t:
        dtype, _, data = t[name + ".weight"]
        if dtype == "F8_E4M3" and t[name + ".weight_scale"][1][-1] > 1 and t[name + ".weight_scale"][1][0] < t[name + ".weight"][1][0]:
            return block(t, name)
        if dtype in ("I8", "F8_E4M3"):
            return coded(t, name)
        if dtype == "BF16":
            return data
        return b"".join(struct.pack("<H", to_bf16(x)) for x in floats(dtype, data))
    if name + ".weight_shape" not in t:
        return micro(t, name)
    out, cols = struct.unpack("<2q", t[name + ".weight_shape"][2])
    packed = t[name + ".weight_packed"]
    words = packed[1][1]
    bits = 32 * words // cols
    per = 32 // bits
    dtype, shape, data = t[name + ".weight_scale"]
    scale, groups = floats(dtype, data), shape[1]
    half = 1 << (bits - 1)
    zero = t.get(name + ".weight_zero_point")
    index = t.get(name + ".weight_g_idx")
    index = [i for (i,) in struct.iter_unpack("<i", index[2])] if index else [c // (cols // groups) for c in range(cols)]
    rows = []
    for r in range(out):
        row = int.from_bytes(packed[2][4 * r * words:4 * (r + 1) * words], "little")
        for c in range(cols):
            k = index[c]
            q = (row >> (bits * c) & ((1 << bits) - 1)) - half  # since 0.18, and always for 2, 4 and 8 bits: one stream of bits
            z = 0
            if zero:
                z = field(zero[2], r // per * groups + k, r % per, bits) - half
            rows.append(struct.pack("<H", to_bf16((q - z) * scale[r * groups + k])))
    return b"".join(rows)

for folder in sys.argv[1:]:
    config, t = json.load(open(folder + "/config.json")), tensors(folder)
    old = config["model_type"] == "exaone"
    names = []
    for i in range(config.get("num_hidden_layers") or config["num_layers"]):
        a, m = ("attn.attention", "mlp.c_fc_0 mlp.c_fc_1 mlp.c_proj") if old else ("self_attn", "mlp.gate_proj mlp.up_proj mlp.down_proj")
        parts = [f"{a}.{x}" for x in ("q_proj", "k_proj", "v_proj", "out_proj" if old else "o_proj")] + m.split()
        names += [f"{'transformer.h' if old else 'model.layers'}.{i}.{p}" for p in parts]
    names.append("transformer.wte" if old else "model.embed_tokens")
    if not config["tie_word_embeddings"]:
        names.append("lm_head")
    digest = hashlib.sha256()
    for name in names:
        digest.update(matrix(t, name))
    print(f'        ("{folder.rstrip("/").rsplit("/", 1)[1]}", "{digest.hexdigest()[:16]}"),')
