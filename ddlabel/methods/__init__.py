"""Losses, augmentations, optimizers, networks and labels: functions of tensors, without files."""
