"""The base of all other layers: errors, registries, options, protocols. Standard library only."""
