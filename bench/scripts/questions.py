"""The side of a victim in Python: what answer.h says."""

import os

SECRET = os.urandom(8).hex()
_rounds = 0


def answer(value):
    global _rounds
    os.write(1, f"{_rounds} {value} {SECRET}\n".encode())
    _rounds += 1


def wrong(what):
    os.write(1, f"{_rounds} wrong {what}\n".encode())
    os._exit(6)


def wait():
    if len(os.read(0, 1)) != 1:
        os._exit(3)
