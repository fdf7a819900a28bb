"""Labels as tensors: targets of losses, views of images, refinement, edits and pruning."""
