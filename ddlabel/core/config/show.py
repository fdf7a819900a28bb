"""Options of `show`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import RuntimeOptions
from ddlabel.core.option import option


@dataclass(frozen=True, kw_only=True)
class ShowOptions(RuntimeOptions):
    """`show`: pictures of labels, expert runs and results."""

    figure: tuple[str, ...] = option(
        (),
        "figure spec, e.g. contact-sheet:count=20; 'list figures' shows them (default: those that "
        "suit the input)",
    )
    expert: str | None = option(
        None, "expert run that labels an image at each of its epochs (label-epochs)", recorded=False
    )
    students: str | None = option(
        None,
        "folder of 'evaluate --save-students', whose students look at the images (gradcam)",
        recorded=False,
    )
