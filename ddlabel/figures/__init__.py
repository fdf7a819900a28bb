"""Pictures of bundles, expert runs and results, and the table of numbers behind each."""
