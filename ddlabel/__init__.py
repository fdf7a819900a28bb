"""ddlabel: make, improve and measure the labels of distilled datasets.

Shapes in docstrings, one legend for the whole package:
    N images, V views of an image, K classes, B batch, C channels, H height, W width.
"""

__version__ = "0.1.0"
