"""Lists of words in sentences."""

from __future__ import annotations

from dhl.words import listed, named


def test_words_are_joined_as_in_a_sentence():
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a", "a and b", "a, b and c",
    ]  # fmt: skip


def test_five_names_are_written_and_the_others_are_counted():
    assert named(list("abcde")) == "a, b, c, d, e"
    assert named(list("abcdefg"), separator="; ") == "a; b; c; d; e; and 2 more"
