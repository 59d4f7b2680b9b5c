"""Which of the structures that a clinic has named are the lungs."""

import re
from collections.abc import Sequence
from fnmatch import fnmatch

from lungseg_train.errors import InputError

LUNG_WORDS = {"lung", "lungs", "pulmo", "pulmones", "lunge", "lungen", "poumon", "poumons"}
LEFT_WORDS = {"l", "left", "lt", "sin", "sinistra", "sinister", "links", "gauche"}
RIGHT_WORDS = {"r", "right", "rt", "dex", "dextra", "dexter", "rechts", "droit"}
OTHER_WORDS = {"both", "bilateral", "total", "combined", "all", "whole", "normal", "organ", "and"}


def choose_lungs(names: Sequence[str], patterns: Sequence[str], source: str) -> list[str]:
    """The structures that together are both lungs: those that fit `patterns` (`*` and `?`, upper or lower case alike),
    or else, by the usual spellings, a left and a right one or one of both.

    Raises `InputError` naming `source` if there are none.
    """
    if patterns:
        chosen = [name for name in names if any(fnmatch(name.lower(), pattern.lower()) for pattern in patterns)]
        if not chosen:
            raise InputError(f"{source}: no structure fits --roi {' '.join(patterns)}; it has {_listed(names)}.")
        return chosen
    sides = {name: side for name in names if (side := _side(name)) is not None}
    one_sided = [name for name, side in sides.items() if side != "both"]
    if {sides[name] for name in one_sided} == {"left", "right"}:
        return one_sided
    both = [name for name, side in sides.items() if side == "both"]
    if both:
        return both
    found = f"only {_listed(one_sided)}" if one_sided else "none"
    among = f"found {found} among {_listed(names)}"
    raise InputError(f"{source}: expected lung structures such as Lung_L and Lung_R, {among}. Name them by --roi.")


def _side(name: str) -> str | None:
    """left, right or both if the name says lung and nothing else; `Lung_L-GTV` is no lung."""
    words = _words(name)
    if not words & LUNG_WORDS or words - LUNG_WORDS - LEFT_WORDS - RIGHT_WORDS - OTHER_WORDS:
        return None
    left, right = bool(words & LEFT_WORDS), bool(words & RIGHT_WORDS)
    return "both" if left == right else "left" if left else "right"


def _words(name: str) -> set[str]:
    # LungLeft and lungL are written in one word by some planning systems.
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = set(re.split(r"[^a-z]+", spaced.lower())) - {""}
    glued = {"lungl": {"lung", "l"}, "lungr": {"lung", "r"}, "llung": {"lung", "l"}, "rlung": {"lung", "r"}}
    for word, parts in glued.items():
        if word in words:
            words = (words - {word}) | parts
    return words


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:12])
    return f"{shown} and {len(names) - 12} more" if len(names) > 12 else shown or "nothing"
