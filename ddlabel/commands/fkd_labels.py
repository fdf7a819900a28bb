"""FKD's label archives on a bundle: a view and its label for each image and epoch."""

from dataclasses import replace
from pathlib import Path

from ddlabel.commands.reporter import Reporter
from ddlabel.core.config import ImportLabelsOptions
from ddlabel.core.errors import UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.importers.fkd import SEED, read_fkd
from ddlabel.data.labels import Labels
from ddlabel.data.schema import LabelMeta


def put_fkd_labels(
    bundle: Bundle, folder: Path, options: ImportLabelsOptions, reporter: Reporter
) -> Bundle:
    """Return the bundle with the views and dense labels of an FKD archive in place of its own.

    Raises:
        InvalidInputError: A file is missing, damaged or of another layout.
        UnsafeInputError: A file asks for code, or there are too many labels.
        IncompatibleError: The labels are of other images or classes than those of the bundle.
        UsageError: An option does not go with logits.
    """
    if options.array is not None or options.label_space not in (None, "logits"):
        raise UsageError(
            f"{folder}: an archive of FKD holds the logits of views: leave out --array and "
            "--label-space"
        )
    found = read_fkd(folder, bundle)
    views = found.views
    reporter.note(f"{views.num_views} views of each image, one for each epoch of the archive")
    if not found.has_ids:
        reporter.note(
            f"note: it does not say which image a label is of: their order is drawn again as "
            f"SRe2L's sampler draws it (seed {SEED}), for images in the order of their class "
            "folders and names"
        )
    meta = LabelMeta(space="logits", temperature=options.temperature, source=folder.resolve().name)
    return replace(bundle, dense=Labels(values=found.logits, meta=meta), views=views)
