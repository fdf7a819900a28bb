"""Tables behind the figures of labels, against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from figure_tables import column
from samples import bundle_of, make_bundle, with_arrays
from view_samples import recorded_views

from ddlabel.core.errors import IncompatibleError, UsageError
from ddlabel.data.bundle import Bundle
from ddlabel.data.schema import LabelMeta, Pixels
from ddlabel.figures.contact_sheet import spread_rows, top_labels
from ddlabel.figures.labels import entropies, entropy_counts, similarity_table
from ddlabel.figures.views import view_images, view_labels


def labelled(probs, hard=(0, 1, 2), space: str = "probs") -> Bundle:
    """Images with these soft labels [N, 3]."""
    values = np.array(probs, np.float32)
    return bundle_of(
        classes=("cat", "dog", "cow"),
        pixels=Pixels(space="uint8", mean=(0.5,), std=(0.25,)),
        images=np.zeros((len(values), 1, 8, 8), np.uint8),
        hard_labels=np.array(hard),
        soft_labels=values,
        soft=LabelMeta(space=space),
    )


class TestClassMeans:
    def test_labels_are_averaged_by_the_class_of_their_largest_entry(self):
        bundle = labelled([[0.5, 0.5, 0], [0.75, 0, 0.25], [0, 0.25, 0.75]])
        table = similarity_table(bundle)
        assert list(table.columns) == ["class", "labels", "cat", "dog", "cow"]
        assert table.rows[0] == ["cat", 2, 0.625, 0.25, 0.125]
        assert table.rows[1] == ["dog", 0, None, None, None]
        assert table.rows[2] == ["cow", 1, 0, 0.25, 0.75]

    def test_directions_are_refused(self):
        bundle = labelled(np.eye(3), space="direction")
        with pytest.raises(IncompatibleError, match="directions"):
            similarity_table(bundle)


class TestEntropy:
    def test_every_label_is_in_the_bin_of_its_entropy(self):
        bundle = labelled([[1, 0, 0], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
        table = entropy_counts(entropies(bundle), 3)
        counts = np.array(column(table, "soft"))
        edges = [*column(table, "from_nats"), table.rows[-1][1]]
        assert edges[0] == 0
        assert edges[-1] == pytest.approx(math.log(3))
        expected = np.zeros(25, int)
        for entropy in (0, math.log(2), math.log(3)):
            expected[min(24, int(entropy / math.log(3) * 25))] += 1
        assert counts.tolist() == expected.tolist()

    def test_without_labels_that_have_one_it_says_how_to_make_some(self):
        with pytest.raises(IncompatibleError, match="ddlabel relabel"):
            entropies(labelled(np.eye(3), space="direction"))


class TestContactSheet:
    def test_images_are_one_of_each_class_in_turn(self):
        bundle = make_bundle(images=9, classes=3)
        assert spread_rows(bundle, 3) == [0, 1, 2]
        assert spread_rows(bundle, 5) == [0, 1, 2, 3, 4]
        assert spread_rows(bundle, 2) == [0, 2]
        assert spread_rows(bundle, 100) == list(range(9))

    @pytest.mark.parametrize("count", [0, -1, 101])
    def test_other_numbers_of_images_are_refused(self, count):
        with pytest.raises(UsageError, match=f"count is {count}"):
            spread_rows(make_bundle(), count)

    def test_the_table_has_the_largest_entries(self):
        bundle = labelled([[0.25, 0.5, 0.25], [0, 1, 0], [1, 0, 0]])
        table = top_labels(bundle, [0], 2)
        assert table.rows == [[0, "cat", 1, "dog", 0.5, 0], [0, "cat", 2, "cat", 0.25, 1]]

    def test_without_soft_labels_it_has_the_hard_ones(self):
        bundle = with_arrays(labelled(np.eye(3)), soft_labels=None)
        assert top_labels(bundle, [1], 3).rows == [[1, "dog", 1, "dog", 1.0, 1]]


class TestViews:
    def test_a_plain_view_has_the_class_of_its_image(self):
        bundle = recorded_views("cutmix")
        table = view_labels(bundle, 1)
        probs = bundle.labels("dense").probs()[1]
        assert column(table, "probability") == pytest.approx(probs.max(1).tolist())
        winners = [bundle.classes[number] for number in probs.argmax(1)]
        assert column(table, "label") == winners
        agrees = [
            int(label == name) for label, name in zip(winners, column(table, "class"), strict=True)
        ]
        assert column(table, "agrees") == agrees

    def test_a_blended_view_has_the_class_with_the_larger_share(self):
        bundle = recorded_views("cutmix")
        views = bundle.views
        for number, name in enumerate(column(view_labels(bundle, 2), "class")):
            is_own = views.mix_weight[2, number] >= 0.5
            row = 2 if is_own else views.mix[2, number]
            assert name == bundle.classes[bundle.hard_labels[row]]

    def test_pictures_are_those_that_students_see(self):
        import torch

        from ddlabel.training.batches import ViewIndex
        from ddlabel.training.device_data import DeviceBundle

        bundle = recorded_views("cutmix")
        num_views = bundle.views.num_views
        data = DeviceBundle.of(bundle, torch.device("cpu"))
        seen = ViewIndex(data, whole="none").images(torch.arange(6 * num_views))
        of_image = seen.numpy().reshape(6, num_views, *bundle.images.shape[1:])[3]
        np.testing.assert_array_equal(view_images(bundle, 3), of_image)
