"""What everything else stands on: errors, registries, options, configs. Standard library only."""
