"""EXAONE-4.0-1.2B's shapes, and what every engine is measured at."""

LAYERS = 30
HIDDEN = 2048
INTERMEDIATE = 4096
VOCAB = 102_400
HEADS = 32
KV_HEADS = 8
HEAD_DIM = 64
POSITIONS = 65_536
THETA = 1e6
EPS = 1e-5

# tokens of the prompt; tokens before those that are generated; tokens that each sequence generates; sequences
PROMPT = 256
CONTEXT = 128
GENERATE = 16
BATCHES = (1, 8, 32)
