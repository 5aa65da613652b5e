"""What a figure of the registry adds to a page: a heading, sentences, pictures and tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Picture:
    """A drawing with its caption.

    Parameters
    ----------
    figure : Figure
    caption : str
    name : str
        The end of the names of its files, where a section has several pictures.
    said : str
        What stands for it where it cannot be seen; the caption and the sentences of the section if it is empty.
    """

    figure: Figure
    caption: str
    name: str = ""
    said: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.figure, Figure):
            raise TypeError(f"the figure of a picture is {type(self.figure).__name__}, not a matplotlib Figure")


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    caption : str
    heads : sequence of str
        Of the columns.
    rows : sequence of sequence of str
        As many cells as there are heads in each; the first one is the head of the row.
    """

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.heads):
                raise ValueError(
                    f"the table {self.caption!r} has {len(self.heads)} heads and a row of {len(row)} cells: {row!r}"
                )


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own.

    Parameters
    ----------
    title : str
    sentences : sequence of str
        The first is a paragraph, the others are a list.
    pictures : sequence of Picture
    tables : sequence of Table
        Folded under the pictures; without any picture they stand open.
    """

    title: str
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
