"""One pure function for each command: bundles and experts in, bundles or records out; no printing."""
