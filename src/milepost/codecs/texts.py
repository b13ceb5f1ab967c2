"""The words of a job in ciphertext: of its error, its reason, its progress.

What stands before them (the name of an error's class, words of milepost's own) stays in the
clear, and is bound to them.
"""

from milepost.ciphertext import HIDDEN, MARK, NEEDS_KEY, head_of, hide
from milepost.codecs import places
from milepost.codecs.encrypted import Cipher, Sealer
from milepost.codecs.places import Words
from milepost.codecs.tokens import is_token, record_in, token_of
from milepost.errors import EncryptedDataError


def seal_text(sealer: Sealer | None, what: Words, job_id: str, task: str, text: str) -> str:
    """Return an error or a reason with all that a user may have written encrypted.

    Args:
        sealer: encrypts; None: there is no key, and stars take the place of the words.
        what: which text.
        job_id: the job's id.
        task: the name of its task.
        text: the words, behind the name of a class or words of milepost's own, and a colon.
    """
    if is_our_own(text):
        return text
    head = head_of(text)
    return head + seal_words(sealer, places.words(what, job_id, task, head), text[len(head) :])


def open_text(cipher: Cipher | None, what: Words, job_id: str, task: str, text: str) -> str:
    """Return the text that :func:`seal_text` was given; stars in place of what is unreadable.

    One in the clear is returned as it is, with stars in place of ciphertext that it quotes.
    """
    if not is_sealed(text):
        return hide(text)
    head = head_of(text)
    return head + open_words(cipher, places.words(what, job_id, task, head), text[len(head) :])


def is_sealed(text: str) -> bool:
    """Whether a text is as :func:`seal_text` makes one."""
    return MARK in text and is_token(text[len(head_of(text)) :])


def is_our_own(text: str) -> bool:
    """Whether a text has nothing in it that a user may have written.

    One without a colon is in milepost's own words; so is what follows NEEDS_KEY.
    """
    return ":" not in text or text.startswith(NEEDS_KEY)


def seal_words(sealer: Sealer | None, place: bytes, words: str) -> str:
    """Return words, encrypted; stars where there is nothing to encrypt them with."""
    if sealer is None or not words:
        return HIDDEN if words else ""
    return token_of(sealer.seal(place, words.encode("utf-8", "surrogatepass")))


def open_words(cipher: Cipher | None, place: bytes, token: str) -> str:
    """Return the words that :func:`seal_words` was given; stars where they cannot be read."""
    if cipher is None:
        return HIDDEN
    try:
        words = cipher.open(place, record_in(token), "text").data
    except EncryptedDataError:
        return HIDDEN
    return words.decode("utf-8", "surrogatepass")
