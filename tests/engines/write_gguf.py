"""Writes a GGUF file with made-up weights: matrices in Q4_0, embedding and head in Q6_K, as llama-quantize would have them."""

import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import LlamaFileType

from sizes import EPS, HEAD_DIM, HEADS, HIDDEN, INTERMEDIATE, KV_HEADS, LAYERS, POSITIONS, THETA, VOCAB

random = np.random.default_rng(1)
file = gguf.GGUFWriter(sys.argv[1], "exaone4")
file.add_context_length(POSITIONS)
file.add_embedding_length(HIDDEN)
file.add_block_count(LAYERS)
file.add_feed_forward_length(INTERMEDIATE)
file.add_head_count(HEADS)
file.add_head_count_kv(KV_HEADS)
file.add_key_length(HEAD_DIM)
file.add_value_length(HEAD_DIM)
file.add_layer_norm_rms_eps(EPS)
file.add_rope_freq_base(THETA)
file.add_rope_dimension_count(HEAD_DIM)
file.add_vocab_size(VOCAB)
file.add_tokenizer_model("no_vocab")
file.add_file_type(LlamaFileType.MOSTLY_Q4_0)


def codes(blocks, width):
    return random.integers(0, 256, (blocks, width), dtype=np.uint8)


def scales(blocks, value):
    return np.full((blocks, 1), value, np.float16).view(np.uint8)


def q4_0(name, rows, cols):
    blocks = rows * cols // 32
    data = np.concatenate([scales(blocks, 0.002), codes(blocks, 16)], axis=1)  # (block, scale and 32 nibbles)
    file.add_tensor(name, data.reshape(rows, -1), raw_dtype=Type.Q4_0)


def q6_k(name, rows, cols):
    blocks = rows * cols // 256
    data = np.concatenate([codes(blocks, 208), scales(blocks, 0.0001)], axis=1)  # (block, 256 codes, 16 small scales and a scale)
    file.add_tensor(name, data.reshape(rows, -1), raw_dtype=Type.Q6_K)


def norm(name, width):
    file.add_tensor(name, np.ones(width, np.float32))


q6_k("token_embd.weight", VOCAB, HIDDEN)
norm("output_norm.weight", HIDDEN)
for layer in range(LAYERS):
    block = f"blk.{layer}"
    q4_0(f"{block}.attn_q.weight", HEADS * HEAD_DIM, HIDDEN)
    q4_0(f"{block}.attn_k.weight", KV_HEADS * HEAD_DIM, HIDDEN)
    q4_0(f"{block}.attn_v.weight", KV_HEADS * HEAD_DIM, HIDDEN)
    q4_0(f"{block}.attn_output.weight", HIDDEN, HEADS * HEAD_DIM)
    q4_0(f"{block}.ffn_gate.weight", INTERMEDIATE, HIDDEN)
    q4_0(f"{block}.ffn_up.weight", INTERMEDIATE, HIDDEN)
    q4_0(f"{block}.ffn_down.weight", HIDDEN, INTERMEDIATE)
    norm(f"{block}.attn_q_norm.weight", HEAD_DIM)
    norm(f"{block}.attn_k_norm.weight", HEAD_DIM)
    norm(f"{block}.post_attention_norm.weight", HIDDEN)
    norm(f"{block}.post_ffw_norm.weight", HIDDEN)
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()
