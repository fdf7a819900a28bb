"""Texts as people read them: those of strangers on one line, and epochs in few digits."""


def printable(text: str) -> str:
    """Return text as one line, without characters that could steer a terminal.

    Names of files and classes are data of strangers: a newline in them could forge a line.
    """
    shown = []
    for character in text:
        shown.append(character if character.isprintable() else repr(character)[1:-1])
    return "".join(shown)


def epoch_text(epoch: float) -> str:
    """Return an epoch for a table or a picture: 5.48936 is `5.49`. It names no checkpoint."""
    return f"{round(epoch, 2):g}"
