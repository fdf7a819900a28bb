"""Options of `doctor`."""

from dataclasses import dataclass

from ddlabel.core.config.shared import RuntimeOptions
from ddlabel.core.option import option


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(RuntimeOptions):
    """`doctor`: what may be wrong with a bundle."""

    expert: str | None = option(
        None,
        "expert run, or RUN@EPOCH (else its last checkpoint), whose predictions the images, their "
        "classes and their pixels are compared with",
        recorded=False,
    )
    test: str | None = option(
        None, "bundle of test images, which should not be among the images", recorded=False
    )
