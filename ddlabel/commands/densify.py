"""`densify`: a label for every view of every image."""

from ddlabel.commands.command import Made, command
from ddlabel.commands.inputs import BundleLike
from ddlabel.commands.labeling import Labelling, label_views
from ddlabel.commands.refine import refine_labels
from ddlabel.commands.relabel import label_with_experts
from ddlabel.commands.reporter import Reporter
from ddlabel.core import rng
from ddlabel.core.config import DensifyOptions, RefineOptions
from ddlabel.data.bundle import Bundle
from ddlabel.data.expert_run import Checkpoints
from ddlabel.methods.labels.views import layouts
from ddlabel.training.loop import Progress


@command("densify", DensifyOptions)
def densify(bundle: BundleLike, *, options: DensifyOptions, reporter: Reporter) -> Made:
    """Give views of every image a label each.

    Views are an overlapping grid (LADD), random boxes, or augmented views (FKD). Returns the bundle
    with dense labels [N, V, K] and the views (LADD, section 3.1).

    Raises:
        UsageError: An option is out of its range, or the view layout does not fit the images.
        InvalidInputError: An input cannot be read, or a run has no such checkpoint.
        IncompatibleError: An expert has other classes than the bundle, or takes other images.
    """

    def check_layout(source: Bundle) -> None:
        height, width = source.images.shape[2:]
        layouts.resolve(options.views)(1, height, width, 0)

    loss = "cosine" if options.refine else "soft-ce"
    labelling = Labelling("dense", densify_images, loss)
    return label_with_experts(bundle, labelling, options, reporter, check_layout)


def densify_images(
    bundle: Bundle, checkpoints: Checkpoints, options: DensifyOptions, progress: Progress = iter
) -> Bundle:
    """Label the views of a layout of every image, and refine the labels if that is asked for.

    Raises:
        UsageError: The view layout does not fit the images.
    """
    height, width = bundle.images.shape[2:]
    seed = rng.stream(options.seed, "views")
    views = layouts.resolve(options.views)(len(bundle), height, width, seed)
    dense = label_views(bundle, views, checkpoints, options, progress)
    if options.refine:
        return refine_labels(dense, RefineOptions(field="dense"))
    return dense
