"""Addresses of the book: everything from one setting, nothing where it is empty."""

import json
import re
import types
from pathlib import Path

import launch
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
URL = "https://github.com/some-one/bnn.book"


def test_no_address_leads_nowhere():
    assert launch.places("", "main") == {}
    assert launch.clone_command("") == ""
    tags = launch.meta_tags("Title", "Text.", "", "book/index")
    assert "og:image" not in tags
    assert "og:url" not in tags


@pytest.mark.parametrize("url", [URL, f"{URL}.git", f"{URL}/"])
def test_every_launcher_names_the_repository(url):
    found = launch.places(url, "main", "03_hmc")
    assert list(found) == ["GitHub", "Codespaces", "Binder", "Colab"]
    assert all(address.startswith("https://") for address in found.values())
    assert all("some-one/bnn.book" in address for address in found.values())
    assert found["Binder"].endswith("/main?urlpath=lab%2Ftree%2F_build%2Flab%2F03_hmc.ipynb")
    assert found["Colab"].endswith("/some-one/bnn.book/blob/main/binder/colab.ipynb")


def test_another_host_has_a_link_to_the_sources_only():
    assert launch.places("https://git.example.org/a/b", "main") == {
        "Repository": "https://git.example.org/a/b"
    }
    assert launch.clone_command(f"{URL}.git") == f"git clone {URL}.git\ncd bnn.book"


@pytest.mark.parametrize(("url", "expected"), [("", False), (URL, True)])
def test_the_themes_buttons_are_shown_only_with_an_address(url, expected):
    config = types.SimpleNamespace(html_theme_options={"repository_url": url})
    launch.configure(None, config)
    assert config.html_theme_options["use_repository_button"] is expected
    assert config.html_theme_options["use_issues_button"] is expected


def test_descriptions_are_escaped_and_cut_at_a_word():
    tags = launch.meta_tags('A "title"', "word " * 100, "https://book.example/", "book/index")
    (text,) = re.findall(r'name="description" content="([^"]*)"', tags)
    assert text.endswith("word …")
    assert len(text) <= launch.LENGTH + 2
    assert 'content="A &quot;title&quot;"' in tags
    assert 'content="https://book.example/_static/preview.png"' in tags


def test_what_the_addresses_lead_to_is_there():
    assert (ROOT / CONFIG["html"]["favicon"]).is_file()
    assert (ROOT / "book" / "_static" / "preview.png").is_file()
    post = (ROOT / "binder" / "postBuild").read_text()
    for name in re.findall(r"-r (\S+)|python (tools/\w+)", post):
        assert (ROOT / "".join(name)).exists(), name
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["postCreateCommand"] == "bash binder/postBuild"
    cells = json.loads((ROOT / "binder" / "colab.ipynb").read_text())["cells"]
    source = "".join("".join(cell["source"]) for cell in cells)
    assert f'REPOSITORY = "{CONFIG["repository"]["url"] or ""}"' in source
