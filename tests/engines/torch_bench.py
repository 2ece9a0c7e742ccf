"""Measures transformers on a CPU: torch_bench.py DTYPE THREADS REPEAT prints JSON, tokens a second of every repetition.

Steps are handed to the model itself, as to the other engines: `generate` would add what it does between them."""

import copy
import json
import sys
import time

import torch
from transformers import DynamicCache, Exaone4Config, Exaone4ForCausalLM
from transformers.initialization import no_init_weights

from sizes import BATCHES, CONTEXT, EPS, GENERATE, HEAD_DIM, HEADS, HIDDEN, INTERMEDIATE, KV_HEADS, LAYERS
from sizes import POSITIONS, PROMPT, THETA, VOCAB

dtype, threads, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(threads)
torch.manual_seed(1)
torch.set_grad_enabled(False)
config = Exaone4Config(
    vocab_size=VOCAB,
    hidden_size=HIDDEN,
    intermediate_size=INTERMEDIATE,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=KV_HEADS,
    head_dim=HEAD_DIM,
    max_position_embeddings=POSITIONS,
    rms_norm_eps=EPS,
    rope_parameters={"rope_type": "default", "rope_theta": THETA},
    sliding_window=None,
    layer_types=["full_attention"] * LAYERS,
    tie_word_embeddings=True,
)
torch.set_default_dtype(getattr(torch, dtype))
with no_init_weights():
    model = Exaone4ForCausalLM(config).eval()
model.tie_weights()
for weights in model.parameters():
    if weights.dim() > 1:
        weights.uniform_(-0.02, 0.02)  # drawn once, not once by each constructor and again by the model


def step(tokens, cache):
    logits = model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return logits[:, -1].argmax(-1, keepdim=True)


def draw(batch, tokens):
    return torch.randint(VOCAB, (batch, tokens))


def fill(tokens):
    cache = DynamicCache(config=config)
    step(draw(1, tokens), cache)
    return cache


def rates(prepare, run, tokens):
    found = []
    for _ in range(repeat):
        ready = prepare()
        begun = time.perf_counter()
        run(ready)
        found.append(tokens / (time.perf_counter() - begun))
    return found


def decode(batch):
    def spread():
        cache = copy.deepcopy(context)
        cache.batch_repeat_interleave(batch)
        return cache

    def run(cache):
        tokens = draw(batch, 1)
        for _ in range(GENERATE):
            tokens = step(tokens, cache)

    return rates(spread, run, batch * GENERATE)


context = fill(CONTEXT)  # and once unmeasured: memory is touched, clocks rise
found = {"prompt": rates(lambda: None, lambda _: fill(PROMPT), PROMPT)}
found |= {str(batch): decode(batch) for batch in BATCHES}
weights = {p.data_ptr(): p.nbytes for p in model.parameters()}  # the head is the embedding: counted once
print(json.dumps({"rates": found, "bytes": sum(weights.values())}))
