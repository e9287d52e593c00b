"""Markdown -> HTML: one text for dashboard, notebook and report, so that all say the same.

What is written as HTML in the Markdown stays text (``html=False``), and addresses that could run
something are no links: markdown-it-py sees to both.
"""

from __future__ import annotations

from html import escape


_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid #8888; padding: .25rem .6rem; text-align: left; }
blockquote { border-left: 4px solid #8888; margin-left: 0; padding-left: 1rem; }
img { max-width: 100%; background: #fff; }
"""


def to_html(markdown: str) -> str:
    """Return Markdown (with tables and struck-through text) as a fragment of HTML."""
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    return str(reader.render(markdown))


def page(title: str, markdown: str) -> str:
    """Return Markdown as a whole page that needs no other file."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{to_html(markdown)}</body>\n</html>\n"
    )
