"""Encrypted tasks of the project, which has them where it has keys."""

import functools
import os
import time

from celery.exceptions import Reject

from milepost import EncryptedTask


def declare(plain, effect, first_times_error):
    """Register them with an app."""
    secret = functools.partial(plain, base=EncryptedTask, bind=True)

    @secret(name="keep_secrets")
    def keep_secrets(self, word=None, deep=None):
        """Put what it is given into every place there is, and return it."""
        effect("body")
        self.report(f"working on {word}")
        self.state[str(word)] = word
        self.step(list, [word], name=f"step-{word}")
        for key in self.iterate([f"{word}-{n}" for n in range(3)], key=str, every=1):
            self.step(str, key)
        self.map(str.upper, [f"{word}"], key=str)
        self.save_checkpoint(self.request.id, {"word": word})
        self.checkpoint()
        self.update_state(state="PROGRESS", meta={"word": word})
        return [word, deep]

    @secret(name="count_secretly")
    def count_secretly(self, word, n):
        """Count, slowly, under a name that nobody may see."""
        effect("body")
        for item in self.iterate(range(n), name=word, every=1):
            effect("item", item)
            time.sleep(0.05)
            self.state[word] = self.state.get(word, 0) + item
        return [word, self.state[word]]

    @secret(name="fail_secretly")
    def fail_secretly(self, word, how="ValueError"):
        """Fail in several ways, each of them telling."""
        effect("body")
        if how == "Reject":
            raise Reject(word, requeue=False)
        if how == "unstorable":
            return {word: object()}
        try:
            raise KeyError(word)
        except KeyError as exc:
            raise ValueError(word) from exc

    @secret(name="end_secretly", max_crashes=0)
    def end_secretly(self, word, how):
        """End as no task should, with the word in every name at hand."""
        effect("body")
        self.step(str, word, name=word)
        if how == "exit":
            os._exit(3)
        if how == "group":
            raise BaseExceptionGroup(word, [KeyboardInterrupt(word)])
        if how == "replace":
            raise self.replace(self.app.signature("count_secretly", (word, 1)))
        for _ in self.iterate(range(600), name=f"{word}-loop"):
            time.sleep(0.1)

    @secret(
        name="retry_secretly",
        autoretry_for=(first_times_error,),
        retry_kwargs={"max_retries": 3, "countdown": 0},
    )
    def retry_secretly(self, word, how):
        """Try twice."""
        effect("body")
        if self.request.retries:
            return word
        if how == "retry":
            raise self.retry(exc=ValueError(word), countdown=0)
        raise first_times_error(word)

    @plain(name="pass_on", bind=True)
    def pass_on(self, how=None, options=None):
        """Be in front of others; fail, or send what it was given."""
        if how == "fail":
            raise ValueError("as expected")
        if how == "send":
            for one in options["then"]:
                self.app.signature(one).apply_async()
