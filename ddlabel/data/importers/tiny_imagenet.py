"""The layout of Tiny ImageNet: `train/CLASS/images/x.JPEG`, and `val/images/x.JPEG` with a table.

The table `val_annotations.txt` has the name and the class of an image in each line, then a box.
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath

from ddlabel.core.errors import InvalidInputError
from ddlabel.data.importers.images import Member
from ddlabel.data.schema import require

TABLE = "val_annotations.txt"
_IMAGES = "images"


def with_classes(
    members: Sequence[Member], tables: dict[PurePath, Callable[[], bytes]]
) -> list[Member]:
    """Return the images as if they were in a folder for each class, where there is a table.

    Args:
        members: The images.
        tables: For the path of each table beside a folder `images`, a function that reads it.

    Raises:
        InvalidInputError: A table cannot be read, or has no class for an image beside it.
    """
    if not tables:
        return list(members)
    class_of: dict[PurePath, str] = {}
    for path, read in tables.items():
        for name, class_name in _read_table(str(path), read()).items():
            class_of[path.parent / _IMAGES / name] = class_name
    return [_in_class_folder(member, class_of, tables) for member in members]


def _in_class_folder(
    member: Member,
    class_of: dict[PurePath, str],
    tables: dict[PurePath, Callable[[], bytes]],
) -> Member:
    """Return an image with the path that it would have in class folders."""
    folder = member.path.parent
    if folder.name != _IMAGES:
        return member
    above = folder.parent
    has_table = above / TABLE in tables
    if has_table:
        require(
            member.path in class_of,
            f"{member.name}: {TABLE} has no class for it: add a line, or remove the image",
        )
        return member._replace(path=above / class_of[member.path] / member.path.name)
    # The images of a class in train/, or those of test/, which have no classes.
    return member._replace(path=above / member.path.name)


def _read_table(name: str, content: bytes) -> dict[str, str]:
    """Return the class of every image by the image's name.

    Raises:
        InvalidInputError: It is no text, or a line has no name and class.
    """
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{name}: it is not a text in UTF-8") from error
    classes = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        is_plain = len(fields) >= 2 and all("/" not in field for field in fields[:2])
        require(
            is_plain,
            f"{name}, line {number}: expected the name and the class of an image, with a tab "
            f"between them, got {line[:60]!r}",
        )
        classes[fields[0]] = fields[1]
    return classes
