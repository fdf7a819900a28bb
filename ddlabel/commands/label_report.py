"""Lines about labels: how often they agree with the hard labels, their entropy and their size."""

from ddlabel.commands.reporter import Reporter
from ddlabel.core.ranks import RANK
from ddlabel.data.bundle import Bundle
from ddlabel.methods.labels.blocks import label_bytes, label_figures

# Of fewer images, no agreement is a surprise.
_FEW_IMAGES = 30


def figures_line(*, accuracy: float, entropy_nats: float | None) -> str:
    """Return label accuracy in [0, 1] and mean entropy in nats as a phrase.

    Directions have no entropy: it is None.
    """
    line = f"{100 * accuracy:.1f} % agree with the hard labels"
    if entropy_nats is None:
        return line
    return f"{line}, mean entropy {entropy_nats:.3f} nats"


def describe_figures(bundle: Bundle, field: str) -> str:
    """Return the accuracy and the mean entropy of a bundle's labels as a line."""
    return f"{field} labels: {figures_line(**label_figures(bundle, field))}"


def describe_size(bundle: Bundle, field: str) -> str:
    """Return the size of a bundle's labels as a line."""
    size = label_bytes(bundle, field)
    return (
        f"{size['bytes']:,.0f} bytes an image, {100 * size['share']:.2f} % of its pixels "
        f"({100 * size['ladd_share']:.2f} % as LADD counts: a zip of one .npy for each image and "
        "each label)"
    )


def report_labels(bundle: Bundle, field: str, reporter: Reporter) -> None:
    """Report how good an expert's labels are and how large. Under torchrun rank 0 has all."""
    if RANK:
        return
    figures = label_figures(bundle, field)
    reporter.note(f"{field} labels: {figures_line(**figures)}")
    reporter.note(describe_size(bundle, field))
    chance = 1 / bundle.num_classes
    num_images = len(bundle)
    error = (chance * (1 - chance) / num_images) ** 0.5
    if num_images >= _FEW_IMAGES and figures["accuracy"] <= chance + error:
        reporter.warn(
            f"warning: the labels agree with the hard labels no more often than chance "
            f"({100 * chance:.1f} %): 'ddlabel doctor BUNDLE --expert RUN' looks for a wrong class "
            "order or pixel space"
        )


def report_change(before: Bundle, after: Bundle, field: str, reporter: Reporter) -> None:
    """Report the figures of labels before and after a change."""
    reporter.note(f"before: {describe_figures(before, field)}")
    reporter.note(f"after:  {describe_figures(after, field)}")
