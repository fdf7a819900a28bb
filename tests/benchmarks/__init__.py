"""How fast ddlabel is, always as a ratio against the field's plain loop, in turns and in one call.

`python -m tests.benchmarks NAME` measures NAME (`all`: every one but `accuracy`, which takes hours) with what
`../shared/data` holds, `--out results.json` keeps it, and `python -m tests.benchmarks table results.json` prints the
README's table. Each side is a process of its own that works for `--seconds` in each of `--rounds`; ratios are of paired
rounds, with their range. ddlabel runs with its default options (`--set compile=off` for others), and since they go by
the work ahead, a round should be long enough that they choose what they choose for a whole run.
"""
