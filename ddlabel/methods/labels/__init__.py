"""Labels as tensors: what a loss sees (`target`), views and their boxes (`views`), refinement (`refine`)."""
