"""`evaluate`: students trained on labels and tested."""
