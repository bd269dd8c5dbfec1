"""Numbers by line: eight bytes for each line that has one, wherever in the file it stands."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_PAGE_BITS = 12
_IN_PAGE = (1 << _PAGE_BITS) - 1
_EMPTY = array("q", bytes(8 << _PAGE_BITS))


class ByLine:
    """A number for each of many lines, 0 where there is none.

    Kept in pages: a line number that damage has made huge costs one page and no more.
    """

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, line: int) -> int:
        page = self._pages.get(line >> _PAGE_BITS)
        return 0 if page is None else page[line & _IN_PAGE]

    def __setitem__(self, line: int, number: int) -> None:
        page = self._pages.get(line >> _PAGE_BITS)
        if page is None:
            page = self._pages[line >> _PAGE_BITS] = _EMPTY[:]
        page[line & _IN_PAGE] = number

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers there are, in the order of their lines."""
        for _, page in sorted(self._pages.items()):
            yield from filter(None, page)
