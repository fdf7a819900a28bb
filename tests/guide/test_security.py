"""The limits that the page Security names are those of the code."""

from __future__ import annotations

import re

from ddlabel.commands.guide import guide
from ddlabel.core import toml_file
from ddlabel.data import results, run_files, safetensors_files, schema
from ddlabel.data.formats import hdf5
from ddlabel.data.importers import budget, label_arrays

LIMITS = {
    "header of a bundle": schema.MAX_BYTES,
    "header of weights in `.safetensors`": safetensors_files._MAX_HEADER_BYTES,
    "`expert.json`, `metrics.jsonl`; a line of results": run_files.MAX_TEXT_BYTES,
    "TOML files, lists of class names": toml_file._MAX_BYTES,
    "bundle in HDF5": hdf5._MAX_BYTES,
    "import: image file, member of an archive": budget.MAX_FILE_BYTES,
    "import: pixels of one image, also after `--size`": budget.MAX_IMAGE_PIXELS,
    "import: all arrays, or all that a file inflates to": budget.MAX_TOTAL_BYTES,
    "import: inflated content above 256 MiB": budget.MAX_INFLATION,
    "import: decoded images above 256 MiB": budget.MAX_INFLATION,
    "import: classes": label_arrays._MAX_CLASSES,
}
UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def test_every_limit_is_that_of_the_code():
    _, _, table = guide("security").partition("## Limits")
    rows = re.findall(
        r"^\| (\S.*) \| ([\d,]+)(?: (\w+))?", table.partition("\n## ")[0], re.MULTILINE
    )
    found = {}
    for what, number, unit in rows:
        found[what] = int(number.replace(",", "")) * UNITS.get(unit, 1)
    assert found == LIMITS
    assert budget.MAX_INFLATED_BYTES == 256 << 20
    assert results._MAX_LINE_BYTES == run_files.MAX_TEXT_BYTES
    assert toml_file._MAX_BYTES == schema.MAX_BYTES
