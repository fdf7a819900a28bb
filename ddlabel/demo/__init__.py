"""The images of the demo, shipped with the package: see README.md here."""

from pathlib import Path

DIGITS = Path(__file__).parent / "digits.npz"
