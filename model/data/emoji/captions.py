"""Captions of the shipped pictures: the names of what they show, as people would type them."""

from collections import Counter

from model.data.emoji.sheets import EmojiSet

_AN = ("a", "e", "i", "o", "u", "hour", "x ray")
_A = ("eu", "ewe", "one ", "uni", "use", "uti")
_SINGULAR = ("ss", "us", "is", "os")  # glass, cactus, tennis, rhinoceros
_AFTER_HEAD = (" with ", " without ", " of ", " in ", " on ", " over ", " behind ", " at ")


def caption_emoji(emoji: EmojiSet) -> tuple[tuple[str, ...], ...]:
    """Captions of each picture, of which an even draw is the bare name every other time.

    Besides it there are the name with its article, other spellings, and each of these with the
    picture's style behind it: "a red apple", "red apple, flat style". A spelling that several
    concepts have, or that is the name of another, belongs to none.

    Returns:
        for each picture its captions; the first is the bare name, which is repeated as often as
        there are others.
    """
    of_class = {captions[0]: captions for captions in emoji.captions}
    owners = Counter(spelling for captions in of_class.values() for spelling in set(captions))
    described = []
    for captions, style in zip(emoji.captions, emoji.styles, strict=True):
        name, *others = captions
        spellings = [name, *(other for other in others if owners[other] == 1)]
        plain = dict.fromkeys(
            form for spelling in spellings for form in (spelling, with_article(spelling))
        )
        styled = [f"{form}, {style} style" for form in plain]
        rest = [form for form in (*plain, *styled) if form != name]
        described.append((name,) * len(rest) + tuple(rest))
    return tuple(described)


def with_article(name: str) -> str:
    """`name` after "a" or "an"; as it is where it is a plural, by its last letters.

    A name counts as plural for the word before "with", "of" and the like: "bowl with eggs" is one
    bowl.
    """
    head = min((name.partition(word)[0] for word in _AFTER_HEAD), key=len)
    if head.endswith("s") and not head.endswith(_SINGULAR):
        return name
    vowel = name.startswith(_AN) and not name.startswith(_A)
    return f"{'an' if vowel else 'a'} {name}"
