"""How fast ddlabel is, always as a ratio against a plain loop: `python -m tests.benchmarks NAME`."""
