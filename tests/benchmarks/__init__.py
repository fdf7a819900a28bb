"""The speed of ddlabel, as a ratio against the plain loop of the field.

`python -m tests.benchmarks NAME` runs the benchmark NAME on the files of `../shared/data`. `all`
runs every benchmark but those that begin with `accuracy-`, which take hours. `--out results.json`
keeps the results, and `python -m tests.benchmarks table results.json` prints the table of the
README.

The reference and ddlabel run by turns, each in a process of its own that works for `--seconds` in
each of `--rounds`. Ratios are of paired rounds, with their range. ddlabel runs with its default
options unless `--set compile=off` or the like changes them. Some defaults depend on the amount of
work, so a round should be long enough that they are those of a whole run.
"""
