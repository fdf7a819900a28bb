"""Losses, augmentations, networks, labels: functions of tensors that know no files."""
