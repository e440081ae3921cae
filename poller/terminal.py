"""What strangers wrote, made fit for a terminal.

Job names, messages, answers of receivers and errors of AWS reach an operator's terminal through `printable`
and nothing else. Escape sequences could clear the screen or set its title, C1 controls are escapes in one
character, and bidirectional controls show a text in another order than it has. They are written as Python
writes them, so that an operator sees what was there. Brackets are markup for rich only, so texts of strangers
go to rich as `Text`, which has no markup.
"""

from __future__ import annotations


def printable(text: str, *, keep: str = "") -> str:
    """Escape everything in a text that a terminal would act on, line breaks included.

    Args:
        text: A foreign text.
        keep: Characters that stay as they are, such as the line breaks of a traceback.
    """
    # str.isprintable is false for controls, format characters (bidirectional ones too), and lone surrogates.
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode()
        for char in text
    )
