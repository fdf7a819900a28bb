"""Artefacts on disk and in memory: bundles, expert runs, results. numpy; no torch at import."""
