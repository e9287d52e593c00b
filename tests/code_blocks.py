"""The code blocks of a Markdown page, and how they run: page by page, as a reader would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt


SHOWN = {"", "csv", "ini", "json", "markdown", "text", "toml", "yaml"}
"""Languages of blocks that are only shown; ``python`` and ``bash`` run, others are mistakes."""

_NOT_RUN = re.compile(r"<!-- not run: \S.*-->\s*", re.DOTALL)
_HIDDEN = re.compile(r"<!-- run\n(.*)-->\s*", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: The word after the fence.
        code: The text between the fences.
        line: Line of the opening fence, from 1.
        is_run: Whether it has no comment that says why it cannot run in CI.
    """

    language: str
    code: str
    line: int
    is_run: bool


def read_blocks(text: str, first_line: int = 1) -> Iterator[Block]:
    """Yield the fenced blocks of a page, those in ``<!-- run`` comments included."""
    before = ""
    for token in MarkdownIt("commonmark").parse(text):
        line = first_line + (token.map[0] if token.map else 0)
        if token.type == "html_block" and (hidden := _HIDDEN.fullmatch(token.content)):
            yield from read_blocks(hidden[1], line + 1)
        if token.type == "fence":
            yield Block(token.info.strip(), token.content, line, not _NOT_RUN.fullmatch(before))
        if token.type == "code_block":
            raise AssertionError(f"line {line}: use a fenced block instead of an indented one")
        before = token.content if token.type == "html_block" else ""


def run_page(path: Path) -> dict[str, Any]:
    """Run a page's blocks in the present folder, in order, and return Python's namespace."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in read_blocks(path.read_text(encoding="utf-8")):
        if block.language == "python" and block.is_run:
            # Line feeds move the code to its place in the page, for tracebacks.
            code = compile("\n" * block.line + block.code, str(path), "exec")
            exec(code, namespace)
        elif block.language == "bash" and block.is_run:
            _run_bash(block, path)
    return namespace


def _run_bash(block: Block, path: Path) -> None:
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", block.code], env={**os.environ, "PATH": programs},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{path}:{block.line}\n{done.stdout}\n{done.stderr}"
