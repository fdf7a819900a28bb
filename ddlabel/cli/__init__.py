"""The command line: parse, call, print. torch is imported inside command bodies only."""
