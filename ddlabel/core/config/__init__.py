"""Every option of every command, declared once: name, type, default, help, bounds and conditions.

The command line, `--config FILE.toml`, the Python functions and the history of a bundle are all
made from these classes. There is one module for each command; `shared` has the options that
several commands have.
"""

from ddlabel.core.config.compare import CompareOptions
from ddlabel.core.config.compress import CompressOptions
from ddlabel.core.config.densify import DensifyOptions
from ddlabel.core.config.describe import DescribeOptions
from ddlabel.core.config.doctor import DoctorOptions
from ddlabel.core.config.edit import EditOptions
from ddlabel.core.config.evaluate import EvaluateOptions
from ddlabel.core.config.export import ExportOptions
from ddlabel.core.config.import_expert import ImportExpertOptions
from ddlabel.core.config.import_images import ImportOptions
from ddlabel.core.config.import_labels import ImportLabelsOptions
from ddlabel.core.config.learn import LearnOptions
from ddlabel.core.config.refine import RefineOptions
from ddlabel.core.config.relabel import RelabelOptions
from ddlabel.core.config.report import ReportOptions
from ddlabel.core.config.select import SelectOptions
from ddlabel.core.config.shared import (
    DeviceOptions,
    RuntimeOptions,
    TrainOptions,
    TrialOptions,
    gift_batch_size,
)
from ddlabel.core.config.show import ShowOptions
from ddlabel.core.config.sweep import SweepOptions
from ddlabel.core.config.train_expert import TrainExpertOptions
from ddlabel.core.options import Options

# The options of the commands that make bundles.
MAKERS: dict[str, type[Options]] = {
    "import": ImportOptions,
    "select": SelectOptions,
    "relabel": RelabelOptions,
    "densify": DensifyOptions,
    "learn": LearnOptions,
    "refine": RefineOptions,
    "edit": EditOptions,
    "import-labels": ImportLabelsOptions,
    "compress": CompressOptions,
}

__all__ = [
    "MAKERS",
    "CompareOptions",
    "CompressOptions",
    "DensifyOptions",
    "DescribeOptions",
    "DeviceOptions",
    "DoctorOptions",
    "EditOptions",
    "EvaluateOptions",
    "ExportOptions",
    "ImportExpertOptions",
    "ImportLabelsOptions",
    "ImportOptions",
    "LearnOptions",
    "RefineOptions",
    "RelabelOptions",
    "ReportOptions",
    "RuntimeOptions",
    "SelectOptions",
    "ShowOptions",
    "SweepOptions",
    "TrainExpertOptions",
    "TrainOptions",
    "TrialOptions",
    "gift_batch_size",
]
