"""Checks of test images among the images of a bundle."""

from ddlabel.commands.doctor.case import Case, Finding, HeldOut, checks
from ddlabel.commands.doctor.images import without_images
from ddlabel.data.likeness import like_images


@checks.add
def overlap_with_test(case: Case, test: HeldOut) -> list[Finding]:
    """Whether test images are among the images: equal, nearly equal, or mirrored."""
    found = like_images(case.bundle.images, test.bundle.images)
    if not found:
        return []
    rows = [each.row for each in found]
    num_equal = sum(each.distance == 0 and not each.is_mirrored for each in found)
    pairs = [f"{each.row} ({each.other} of the test set)" for each in found[:4]]
    return [
        Finding(
            check="overlap-with-test",
            found=f"images that are test images: {len(found)} of {len(case.bundle)}, of them "
            f"{num_equal} equal: rows {', '.join(pairs)}{', …' if len(found) > len(pairs) else ''}",
            certainty="certain" if num_equal else "likely",
            advice="results on this test set are too good: take the images out, or choose them "
            "again from the training part",
            commands=without_images(case, rows),
            rows=tuple(rows),
        )
    ]
