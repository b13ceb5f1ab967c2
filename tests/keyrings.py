"""Keys that change while something runs, as those of a source do."""

from milepost.codecs.keyring import Keyring


class Ring:
    """A keyring that can be handed other keys."""

    def __init__(self, *keys):
        self.hold(*keys)

    def hold(self, *keys):
        self.ring = Keyring(keys)

    def current(self, tenant=""):
        return self.ring.current(tenant)

    def get(self, key_id):
        return self.ring.get(key_id)

    def all(self):
        return self.ring.all()
