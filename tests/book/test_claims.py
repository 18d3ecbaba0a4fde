"""Every claim of a chapter's text is checked by a cell, and what only the build needs is hidden."""

import ast
import builtins
import re
from pathlib import Path

import pytest
import run_claims
from prose import DESIGN, SOURCE, Chapter, Sentence, is_hidden, parse, sentences

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book" / "chapters").glob("*.ipynb"))
CHAPTERS = [Chapter(path) for path in NOTEBOOKS if "book_support" in path.read_text()]
BUILD_ONLY = {"FAST", "budget", "claim", "glue", "keep", "quick"}

chapters = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda c: c.path.stem)


@pytest.mark.parametrize(
    "text",
    [
        "The accuracy is 96.2.",
        "It took 5 seconds.",
        "Ninety-six per cent are right.",
        "Mean field is the best of the five.",
        "The ensemble wins.",
        "Its NLL is lower.",
        "All five give the same answer.",
        "Minibatches are three times as fast.",
        "It needs thousands of steps.",
        "NUTS is better than the mode.",
        "The ensemble needs fewer draws.",
        "It gains 4 nats.",
        "| accuracy | 94.6 % |",
        "- a bullet with 17 units",
        "It is twice the size.",
    ],
)
def test_unsupported_sentences_are_found(text):
    assert any(s.finding({5.0, 96.0}) for s in sentences(text))


@pytest.mark.parametrize(
    "text",
    [
        "Two hidden layers of five units.",
        "The accuracy is {glue:text}`acc:.1f` %.",
        "Which one is lower?",
        "Adam is faster. <!-- claim: vi-adam -->",
        "Adam is faster <!-- claim: vi-adam -->.",
        "The prior has sd 0.05.",
        "Use $7$ units, `n=9` and {cite}`work2016`.",
        "Every unit doubles it. <!-- by design -->",
        "Look rather than guess.",
        "```python\nbest = 17\n```",
    ],
)
def test_supported_sentences_pass(text):
    assert not any(s.finding({5.0, 0.05}) for s in sentences(text))


def test_a_mark_holds_for_its_own_sentence_only():
    first, second = sentences("Adam is faster. <!-- claim: vi-adam -->\nIt is better.")
    assert first.marks == ["vi-adam"]
    assert first.finding(set()) is None
    assert second.finding(set())


def test_a_quoted_figure_needs_its_citation():
    assert sentences("It had 94.6 %. <!-- source -->")[0].finding(set())
    assert not sentences("It had 94.6 % {cite}`a2016`. <!-- source -->")[0].finding(set())


def test_number_words_are_numbers():
    assert Sentence("twenty-five labels").finding({25.0}) is None
    assert Sentence("twenty-five labels").finding({20.0, 5.0}) == "number 25"
    assert Sentence("three hundred draws").finding({300.0}) is None


@chapters
def test_every_number_and_comparison_is_supported(chapter):
    literals = chapter.literals()
    missing = [f"{why}: {s.text}" for s in chapter.sentences() if (why := s.finding(literals))]
    assert not missing, f"{len(missing)} unsupported sentences:\n" + "\n".join(missing)


@chapters
def test_every_claim_is_asserted_and_every_assert_is_claimed(chapter):
    marked = {name for s in chapter.sentences() for name in s.marks} - {DESIGN, SOURCE}
    asserted = chapter.asserted()
    assert len(asserted) == len(set(asserted)), "a claim is asserted twice"
    assert marked - set(asserted) == set(), "claims of the text without an assert"
    assert set(asserted) - marked == set(), "asserted claims that the text does not make"


@chapters
def test_what_only_the_build_needs_is_hidden(chapter):
    for source in chapter.code(hidden=False):
        names = {node.id for node in ast.walk(parse(source)) if isinstance(node, ast.Name)}
        assert not names & BUILD_ONLY, source
        assert not re.search(r"book_support|myst_nb|BNNBOOK", source), source
    for cell in chapter.cells:
        if is_hidden(cell):  # JupyterLab folds it
            assert cell["metadata"]["jupyter"]["source_hidden"] is True


@chapters
def test_cells_in_view_run_without_those_that_are_not(chapter):
    known = set(dir(builtins))
    trees = [parse(source) for source in chapter.code(hidden=False)]
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                known.add(node.name)
            elif isinstance(node, ast.alias):
                known.add((node.asname or node.name).split(".")[0])
            elif isinstance(node, ast.arg):
                known.add(node.arg)
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                assert node.id in known, f"{node.id} is defined in a hidden cell only"


@chapters
def test_code_in_view_fits_the_page(chapter):
    for source in chapter.code(hidden=False):
        for line in source.splitlines():
            assert len(line) <= 76, line


def test_the_status_page_sums_up_the_claims_under_other_seeds():
    assert run_claims.STATUS.read_text(encoding="utf-8") == run_claims.status()
    verdicts = [row[3:] for rows in run_claims.stored().values() for row in rows]
    assert verdicts
    assert not [row for row in verdicts if "FAILS" in " ".join(row)]


def test_a_claim_that_fails_under_a_seed_is_named(monkeypatch):
    name = CHAPTERS[0].asserted()[0]
    row = [CHAPTERS[0].path.stem, name, "2026-01-01", "holds", "FAILS 0.5"]
    monkeypatch.setattr(run_claims, "stored", lambda: {row[0]: [row]})
    assert f"| `{name}` | 2026-01-01 |" in run_claims.status()
