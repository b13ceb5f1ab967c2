"""Codecs: implementations of the socket :mod:`milepost.codec`."""
