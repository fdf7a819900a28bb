"""What is said of hard labels that are only the largest entries of imported labels."""

from ddlabel.commands.reporter import Reporter
from ddlabel.data.bundle import Bundle
from ddlabel.data.provenance import LARGEST_ENTRIES, hard_labels_are_derived

DERIVED = f"the hard labels are only {LARGEST_ENTRIES}"


def warn_of_derived(bundle: Bundle, reporter: Reporter, *, meaning: str) -> None:
    """Warn if the hard labels of a bundle are derived; `meaning` says what follows from it."""
    if hard_labels_are_derived(bundle.history):
        reporter.warn(f"warning: {DERIVED}: {meaning}; give the classes with 'import-labels'")
