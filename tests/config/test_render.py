"""How a problem looks on a terminal."""

from __future__ import annotations

from controller.config import Problem, render
from controller.model.entities import Place

PLACE = Place("tenants/red.yaml", 31, 12)


def test_the_offending_text_is_underlined_and_the_hint_follows() -> None:
    line = "      tcp: 3306-330"
    problem = Problem("N021", "the range ends (330) before it begins (3306)", PLACE, 8, line, "did you mean 330-3306?")
    assert render(problem) == (
        "tenants/red.yaml:31:12: error[N021]: the range ends (330) before it begins (3306)\n"
        " 31 |       tcp: 3306-330\n"
        "    |            ^^^^^^^^ did you mean 330-3306?"
    )


def test_a_problem_without_a_line_is_one_line() -> None:
    problem = Problem("W003", "not read", Place("x", 1, 1), 1, "", "rename it", is_warning=True)
    assert render(problem) == "x:1:1: warning[W003]: not read; rename it"


def test_a_long_line_is_cut_around_the_place() -> None:
    problem = Problem("N010", "wrong", Place("x", 1, 5001), 3, "a" * 5000 + "bad" + "c" * 5000, None)
    _, line, caret = render(problem).split("\n")
    assert len(line) < 125
    assert line[caret.index("^") : caret.rindex("^") + 1] == "bad"


def test_wide_characters_do_not_shift_the_caret() -> None:
    problem = Problem("N010", "wrong", Place("x", 1, 4), 3, "日本 bad", None)
    assert render(problem).split("\n")[2] == "   |      ^^^"


def test_control_characters_never_reach_the_terminal() -> None:
    problem = Problem("N010", "wrong", Place("x", 1, 3), 1, "\t\x85b\u202e", None)
    assert render(problem).split("\n")[1:] == [" 1 |  \\x85b\\u202e", "   |      ^"]
