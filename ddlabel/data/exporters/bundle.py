"""A bundle in the other format: .safetensors as .h5, and the reverse."""

from ddlabel.core.config import ExportOptions
from ddlabel.data import formats
from ddlabel.data.bundle import Bundle
from ddlabel.data.exporters.registry import PARTS, exporters


@exporters.add("bundle", keeps=PARTS, suffixes=tuple(formats.FORMATS))
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A bundle, `.safetensors` or `.h5`: nothing changes but the container."""
    formats.write(path, bundle)
