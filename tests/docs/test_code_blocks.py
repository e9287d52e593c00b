"""Run every code block of the docs, as CONTRIBUTING.md describes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from code_blocks import SHOWN
from code_blocks import read_blocks
from code_blocks import run_page

from optuna_metallmix.cli import make_parser


ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md"))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks_are_run_or_say_why_not(page: Path) -> None:
    for block in read_blocks((ROOT / "docs" / page).read_text(encoding="utf-8")):
        known = block.language in {"python", "bash"} | SHOWN or block.language.startswith("{")
        assert known, f"{page}:{block.line}: write `python`, `bash` or `text`"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_that_cannot_run_are_valid(page: Path) -> None:
    for block in read_blocks((ROOT / "docs" / page).read_text(encoding="utf-8")):
        if block.language == "bash" and not block.is_run:
            for line in block.code.replace("\\\n", " ").splitlines():
                program, *arguments = shlex.split(line, comments=True)
                if program == "optuna-metallmix":
                    make_parser().parse_args(arguments)
                elif program == "python" and arguments[0].startswith("examples/"):
                    check_example(*arguments)


def check_example(script: str, *arguments: str) -> None:
    """Check that an example has these options, without running it."""
    options = {word for word in arguments if word.startswith("--") and word != "--"}
    assert (ROOT / script).is_file()
    assert [option for option in options - {"--gpus"} if option not in help_of_example()] == []


@cache
def help_of_example() -> str:
    return subprocess.run(
        [sys.executable, "examples/finetune_timm.py", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:1")  # the same on a machine with Ollama
    run_page(ROOT / "docs" / page)


def test_blocks_of_a_page() -> None:
    page = (
        "# A\n\n```python\na = 1\n```\n\n<!-- not run: it needs a GPU -->\n\n```bash\nb\n```\n\n"
        "<!-- run\n```python\nc = 1\n\nd = 2\n```\n-->\n\n- item\n\n  ```text\n  e\n  ```\n"
    )
    assert [
        (block.language, block.code, block.line, block.is_run) for block in read_blocks(page)
    ] == [
        ("python", "a = 1\n", 3, True),
        ("bash", "b\n", 9, False),
        ("python", "c = 1\n\nd = 2\n", 14, True),
        ("text", "e\n", 23, True),
    ]


@pytest.mark.parametrize("code", ["```python\n1 / 0\n```", "```bash\nfalse | cat\n```"])
def test_broken_block_fails(code: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{code}\n")
    with pytest.raises((ZeroDivisionError, AssertionError)):
        run_page(page)
