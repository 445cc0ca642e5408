"""Text from outside that is shown."""

import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlabeled.cli import main
from unlabeled.console.plain import class_name, printable, tolerate
from unlabeled.images.shards import finish_shards, write_shard


@given(text=st.text(st.characters(exclude_categories=())))
def test_nothing_printable_forges_a_line_or_turns_the_text(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs", "Zl", "Zp"}
    shown.encode()  # no halves of surrogate pairs
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "text", ["cat", "Katze, groß", "кошка", "猫", "قطة", "बिल्ली", "🐈\u200d⬛", "a b\u00a0c", "[red]x[/red]", "<b>"]
)
def test_names_in_any_script_stay_as_they_are(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("caf\udce9", r"caf\xe9"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_could_do_harm_is_escaped(text, shown):
    assert printable(text) == shown


def test_both_ways_to_write_an_accent_are_one_class():
    assert class_name("café") == class_name("café") == "café"


@given(number=st.floats(-100, 100))
def test_a_number_keeps_its_sign_where_only_ascii_can_be_written(number):
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding="ascii", write_through=True)
    tolerate(stream)
    stream.write(f"{number:+.1f} → × {'−' if number < 0 else ''}{abs(number):.1f} … ё é 猫".replace("-", "−"))
    words = content.getvalue().decode("ascii")
    assert words.startswith(f"{number:+.1f} -> x {'-' if number < 0 else ''}{abs(number):.1f} ... ")


def test_colons_around_names_make_no_pictures(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shard("heart", "unlabeled", 0, np.zeros((2, 1, 8, 8), dtype=np.uint8))
    finish_shards("heart", (":a:",), jobs=1)
    main(["data", "show", "--data", "shards:heart"])
    out = capsys.readouterr().out
    assert out.startswith("shards:heart: images of 8x8") and ":a:" in out
