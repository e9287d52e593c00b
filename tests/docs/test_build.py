"""Build the docs without network, with warnings as errors, and follow their links."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote
from urllib.parse import urlsplit

import pytest

import optuna_metallmix
from optuna_metallmix.cli import make_parser


pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
FILES = "https://github.com/optuna-metallmix/optuna-metallmix/blob/main/"


class Page(HTMLParser):
    """The anchors of a page, its links, and what it loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a":
            self.links |= {values["href"]} if "href" in values else set()
        elif tag != "meta":
            self.loaded |= {values[name] for name in ("src", "href") if name in values}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d"]
    built = subprocess.run(
        [*command, f"{folder}/doctrees", "docs", f"{folder}/html"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_all_links_inside_the_site_lead_somewhere(pages: dict[Path, Page]) -> None:
    assert list(_broken(pages)) == []


def _broken(pages: dict[Path, Page]) -> Iterator[str]:
    for path, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            found = target.is_file()
            if found and parts.fragment and target in pages:
                found = unquote(parts.fragment) in pages[target].anchors
            if not found:
                yield f"{path.name}: {link}"


def test_links_to_files_of_the_repository_lead_somewhere(pages: dict[Path, Page]) -> None:
    links = {link for page in pages.values() for link in page.links if link.startswith(FILES)}
    paths = {urlsplit(link.removeprefix(FILES)).path for link in links}
    assert "examples/timm_objective.py" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_all_measurements_have_a_page() -> None:
    results = {path.name for path in ROOT.glob("benchmarks/results/*.md")}
    results.remove("medical-notes.md")  # the end of medical.md
    pages = {path.name: path for path in ROOT.glob("docs/concepts/results/*.md")}
    assert set(pages) == results
    for name, path in pages.items():
        assert f"../../../benchmarks/results/{name}\n" in path.read_text(encoding="utf-8")


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    assert [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc] == []


def test_reference_names_everything_public(site: Path, pages: dict[Path, Page]) -> None:
    anchors = pages[site / "reference" / "api.html"].anchors
    ours = {f"optuna_metallmix.{name}" for name in optuna_metallmix.__all__}
    models = {f"optuna_metallmix.llm.{name}" for name in optuna_metallmix.llm.__all__}
    shared = {name for name in models if name.replace(".llm.", ".") in ours}
    assert sorted((ours | models - shared) - anchors) == []


def test_reference_names_every_option(site: Path) -> None:
    shown = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    (commands,) = (action for action in make_parser()._actions if action.choices)
    for command in commands.choices.values():
        options = [option for action in command._actions for option in action.option_strings]
        assert [name for name in options if name.startswith("--") and name not in shown] == []
