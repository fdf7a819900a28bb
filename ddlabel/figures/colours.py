"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008)."""

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
RED = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#767676"
# The colours of lines and bars, in their order; yellow is too light on white.
SERIES = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, GREY)
# A label whose largest entry is the hard label's class, and one where it is another class.
AGREES = BLUE
DIFFERS = ORANGE
# Values from low to high.
SCALE = "viridis"
