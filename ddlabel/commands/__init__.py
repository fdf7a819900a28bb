"""The commands: each is a public Python function, which the command line calls."""
