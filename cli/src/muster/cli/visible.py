"""Output of a stranger on a person's terminal: an escape sequence is shown, not obeyed."""

import codecs
from typing import Final

from muster.kit.text import clean

_KEPT: Final = "\n\t"


class Visible:
    """Turns bytes into text that is safe to show, piece by piece."""

    def __init__(self) -> None:
        """Begin between two characters."""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="surrogateescape")
        self._held = ""

    def feed(self, data: bytes, *, final: bool = False) -> str:
        """Return what can be shown of *data*; a carriage return before a line end is dropped."""
        text = self._held + self._decoder.decode(data, final)
        self._held = ""
        if text.endswith("\r") and not final:
            text, self._held = text[:-1], "\r"
        return clean(text.replace("\r\n", "\n"), keep=_KEPT)


def visible(data: bytes) -> bytes:
    """Return *data* with everything hidden made visible."""
    return Visible().feed(data, final=True).encode()
