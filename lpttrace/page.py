# SPDX-License-Identifier: GPL-2.0-only
"""A page in one file: sections of text, tables and pictures. The only user of jinja2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lpttrace import __version__

__all__ = ["Figure", "Page", "Section", "Table", "html"]


@dataclass(frozen=True)
class Table:
    """left are the columns of text; kinds a word for each row, by which it is coloured; cells of
    prose are not cut."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Sequence[int]
    kinds: Sequence[str] = ()
    prose: bool = False


@dataclass(frozen=True)
class Figure:
    """An SVG, and what is to be seen in it."""

    svg: str
    caption: str

    @property
    def markup(self) -> Markup:
        """The SVG, which has escaped what it is made from."""
        return Markup(self.svg)


@dataclass(frozen=True)
class Section:
    """In the order of the fields; a section with more to it than most need is folded."""

    title: str
    lines: Sequence[str] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    notes: Sequence[str] = ()
    folded: bool = False


@dataclass(frozen=True)
class Page:
    """lead stands in large type below the title."""

    title: str
    lead: str
    facts: Sequence[str]
    sections: Sequence[Section]


def html(page: Page) -> str:
    """Everything that is not markup of our own is escaped."""
    environment = Environment(
        loader=PackageLoader("lpttrace"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(page=page, version=__version__)
