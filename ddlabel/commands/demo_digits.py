"""The handwritten digits that are shipped for the demo."""

from pathlib import Path

DIGITS = Path(__file__).parent.parent / "demo" / "digits.npz"
