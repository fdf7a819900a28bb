"""Text of strangers on one line."""


def printable(text: str) -> str:
    """Return text as one line, without characters that could steer a terminal.

    Names of files and classes are data of strangers: a newline in them could forge a line.
    """
    shown = []
    for character in text:
        shown.append(character if character.isprintable() else repr(character)[1:-1])
    return "".join(shown)
