"""Parquet files as the `datasets` library of Hugging Face writes and reads them."""

import io
import json
from typing import Any

from ddlabel.core.config import ExportOptions
from ddlabel.core.errors import UsageError
from ddlabel.data import atomic
from ddlabel.data.bundle import Bundle, image_chunks
from ddlabel.data.exporters.labels import soft_values, space_of_values
from ddlabel.data.exporters.pixels import check_png, png
from ddlabel.data.exporters.registry import exporters

_KEEPS = ("images", "order", "class names", "empty classes", "hard", "soft", "label space")


@exporters.add("parquet", keeps=_KEEPS, suffixes=(".parquet",))
def write(bundle: Bundle, path: str, options: ExportOptions) -> None:  # noqa: ARG001
    """A Parquet file for Hugging Face: the columns `image`, `label` and `soft_label`.

    Images are PNG files. `datasets.load_dataset("parquet", data_files=…)` decodes them, and knows
    the names of the classes. Soft labels are probabilities, or the vectors of directions: the
    property `label_space` of the column says so. It needs pyarrow: pip install 'ddlabel[parquet]'.

    Raises:
        IncompatibleError: The images are neither grey nor of three colours.
        UsageError: pyarrow is not installed.
    """
    check_png(bundle)
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError(
            "--format parquet needs pyarrow: pip install 'ddlabel[parquet]'"
        ) from error
    schema = _schema(pa, bundle)
    buffer = io.BytesIO()
    with parquet.ParquetWriter(buffer, schema) as writer:
        for rows in image_chunks(bundle):
            writer.write_table(pa.table(_columns(bundle, rows), schema=schema))
    content = buffer.getvalue()
    atomic.write(path, [content], size=len(content))


def _schema(pa: Any, bundle: Bundle) -> Any:
    """Return the schema of the columns, with the features that `datasets` reads."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns: list[Any] = [("image", image), ("label", pa.int64())]
    label = {"names": list(bundle.classes), "_type": "ClassLabel"}
    features: dict[str, Any] = {"image": {"_type": "Image"}, "label": label}
    if bundle.soft is not None:
        space = {"label_space": space_of_values(bundle)}
        columns.append(pa.field("soft_label", pa.list_(pa.float32()), metadata=space))
        features["soft_label"] = {
            "feature": {"dtype": "float32", "_type": "Value"},
            "_type": "Sequence",
        }
    about = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pa.schema(columns, metadata={"huggingface": about})


def _columns(bundle: Bundle, rows: slice) -> dict[str, Any]:
    """Return the columns of a block of images."""
    block = bundle.images[rows]
    images = []
    for number, image in enumerate(block):
        images.append({"bytes": png(image), "path": f"{rows.start + number:06d}.png"})
    columns: dict[str, Any] = {
        "image": images,
        "label": bundle.hard_labels[rows].tolist(),
    }
    if bundle.soft is not None:
        columns["soft_label"] = soft_values(bundle, rows).tolist()
    return columns
