"""Names, choices and answers are neither markup nor links in Markdown, and show no password."""

from __future__ import annotations

import re
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from optuna.exceptions import StorageInternalError

from optuna_metallmix.text import MAX_ERROR
from optuna_metallmix.text import describe_error
from optuna_metallmix.text import escape_markdown
from optuna_metallmix.text import hide_passwords
from optuna_metallmix.text import markdown_table


ADDRESSES = [
    *("https://evil.example/x_y", "HTTP://evil.example", "www.evil.example", "WwW.evil.example/a"),
    *("me@evil.example", "mailto:me@evil.example", "(https://evil.example)", "xhttp://a.example"),
    *("https://a.example|b", "https://a.example`b", "a`https://b.example`c", "ftp://a.example\\"),
    *("xmpp:me@a.example/b", "https:///", "a|me@b.example|c", "\\`https://a.example", "`www.a.b"),
]
"""What GitHub's Markdown, which optuna-dashboard shows, makes links of, and what is near it."""


LINK = re.compile(r"://|www\.|[-.\w+]+@[-\w]+(\.[-\w]+)+", re.IGNORECASE)
"""What `mdast-util-gfm-autolink-literal` looks for in a text, after all escapes."""


def texts(markdown: str) -> list[str]:
    """Return the plain texts of some Markdown, with a space for each piece of code."""
    parser = MarkdownIt("commonmark").enable("table")
    inline = [token.children or [] for token in parser.parse(markdown) if token.type == "inline"]
    return [
        "".join(" " if child.type == "code_inline" else child.content for child in children)
        for children in inline
    ]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_is_code_and_shown_as_it_is(address: str) -> None:
    for name in (address, f"see {address} now", f"_{address}*"):
        escaped = escape_markdown(name)
        for page in (escaped, markdown_table(["name"], [[name]])):
            assert not any(LINK.search(text) for text in texts(page))
        shown = MarkdownIt("commonmark").renderInline(escaped)
        assert "<a" not in shown
        assert shown.replace("<code>", "").replace("</code>", "") == name


@given(st.text("htps:/.@w|`\\_*[]()<> a1", max_size=40))
def test_no_text_has_an_address_outside_of_code(name: str) -> None:
    for page in (escape_markdown(name), markdown_table(["name"], [[name]])):
        assert not any(LINK.search(text) for text in texts(page))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p/w@host/db", "postgresql://u:***@host/db"),
        ("mysql+pymysql://u:a:b/c@h/d?x=1", "mysql+pymysql://u:***@h/d?x=1"),
        ("redis://:p@ss@h:6379/0", "redis://:***@h:6379/0"),
        ("postgresql://u:my pass@h/db", "postgresql://u:***@h/db"),
        ("postgresql://u:1 2@h/db", "postgresql://u:***@h/db"),
        ("('postgresql://u:p%40s@h/db')", "('postgresql://u:***@h/db')"),
        ("http://me:pw@host/v1", "http://me:***@host/v1"),
        ("postgresql:///db?user=u&password=pw&x=1", "postgresql:///db?user=u&password=***&x=1"),
        ("postgresql:///db?sslpassword=pw", "postgresql:///db?sslpassword=***"),
        ("PGPASSWORD=pw failed", "PGPASSWORD=*** failed"),
        ("host=h password='pw' x", "host=h password='***' x"),
        ("host=h passwd=pw;x", "host=h passwd=***;x"),
    ],
)
def test_passwords_are_hidden(text: str, shown: str) -> None:
    assert hide_passwords(text) == shown
    assert hide_passwords(f"No {text} and {text} either") == f"No {shown} and {shown} either"


@pytest.mark.parametrize(
    "text",
    [
        "grpc://localhost:13000 has no study 'x@y'",
        "postgresql://host:5432/db has no study 'x@y'",
        "https://host:8000/v1#model@q4",
        "sqlite:///hpo.db",
        "password is wrong",
    ],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert hide_passwords(text) == text


class _UntoldError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_another_program_s_error_is_a_bounded_line_without_passwords() -> None:
    secret = "postgresql://u:" + "s3/cret" * 9 + "@h/db"
    for n in range(0, 6_000, 7):
        text = describe_error(ValueError("x" * n + secret + "\ny" * 10**4))
        assert "s3" not in text
        assert "\n" not in text
        assert len(text) <= MAX_ERROR + len("ValueError ()")
    assert describe_error(ValueError("a\nb")) == "ValueError (a b)"
    assert describe_error(_UntoldError()) == "_UntoldError"
    assert describe_error(ValueError()) == "ValueError"


def test_the_error_of_a_database_is_not_hidden_behind_that_of_optuna(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/hpo.db")
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE])
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE study_user_attributes"))
    with pytest.raises(StorageInternalError) as caught:
        storage.set_study_user_attr(study_id, "key", "value")
    shown = "OperationalError (no such table: study_user_attributes)"
    assert describe_error(caught.value) == shown


@pytest.mark.parametrize("text", ["a.a" * 700_000, "a://b:" * 300_000, "password=" * 200_000])
def test_describing_an_error_does_not_depend_on_its_length(text: str) -> None:
    assert len(describe_error(ValueError(text))) <= MAX_ERROR + len("ValueError ()")
