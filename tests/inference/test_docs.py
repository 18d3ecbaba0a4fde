"""Docstrings of the inference room, whose shared paragraphs are written once."""

import inspect

import pytest

from bnnbook import inference
from bnnbook.inference.docs import PLACE, SHARED, with_shared_docs


def test_paragraphs_stand_where_they_are_named():
    @with_shared_docs
    def method():
        r"""Sample from :math:`\frac{N}{n}`.

        Parameters
        ----------
        {seed}
            Of this method.
        """

    text = method.__doc__
    assert r"\frac{N}{n}" in text
    assert "\n" + SHARED["seed"] + "\n    Of this method." in text


def test_unknown_paragraph_is_an_error():
    with pytest.raises(KeyError, match="sneed"):

        @with_shared_docs
        def method():
            """Sample.

            {sneed}
            """


def test_no_place_is_left_open():
    for name in inference.__all__:
        assert not PLACE.search(inspect.getdoc(getattr(inference, name)) or ""), name
