"""The processes that torchrun started: this one's rank, and how many there are."""

import os

RANK = int(os.environ.get("RANK", "0"))
NUM_RANKS = int(os.environ.get("WORLD_SIZE", "1"))
