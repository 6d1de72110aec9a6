"""A program that computes something is dumped and restored at random moments: its output must be that of an
undisturbed run."""

import os
import time

from harness import dump_and_reap, exists, expect, must, no_helpers, read, restore, seeded, start, wait_for, Failure


OPTIONS = ()  # of every dump and restore


class TooFast(Exception):
    """The program came to its end, as it should, before the last of its rounds: other work had slowed the first run."""


def undisturbed(arguments, output, **options):
    """Runs the program to its end; returns the seconds that it took."""
    began = time.monotonic()
    pid = start(arguments, output, **options)
    code = wait_for(pid, 120)
    expect(code == 0, f"undisturbed, the program ended with {code}: {read(output + '.err')}")
    return time.monotonic() - began


def disturbed(arguments, output, seconds, directory, rounds=5, **options):
    """The same with `rounds` of dump, kill and restore at random moments of its running time of `seconds`."""
    chance = seeded()
    moments = sorted(chance.uniform(0.02, 0.75) * seconds for _ in range(rounds))
    pid = start(arguments, output, **options)
    ran, resumed = 0.0, time.monotonic()
    for number, moment in enumerate(moments):
        time.sleep(max(0.0, moment - ran - (time.monotonic() - resumed)))
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            expect(status == 0, f"the program ended with {status} before round {number}: {read(output + '.err')}")
            raise TooFast(f"the program ended before round {number}")
        images = os.path.join(directory, f"images-{number}")
        began = time.monotonic()
        try:
            dump_and_reap(pid, images, *OPTIONS)
        except Failure:
            if not exists(pid) or read(f"/proc/{pid}/stat").rsplit(")", 1)[-1].split()[:1] == ["Z"]:
                expect(wait_for(pid) == 0, "the program failed")
                raise TooFast(f"the program ended in round {number}") from None
            raise
        ran += began - resumed
        gone = time.monotonic()
        expect(not exists(pid), "the program is still there")
        must(restore(images, *OPTIONS))
        resumed = time.monotonic()
        print(f"round {number} after {ran:.2f} s: dump {gone - began:.3f} s, restore {resumed - gone:.3f} s")
        no_helpers(pid)
    code = wait_for(pid, 120)
    expect(code == 0, f"the restored program ended with {code}: {read(output + '.err')}")


def compare(arguments, directory, digest, rounds=5, **options):
    """Undisturbed, then disturbed; digest(output path) of both must agree."""
    seconds = undisturbed(arguments, os.path.join(directory, "plain"), **options)
    expected = digest(os.path.join(directory, "plain"))
    print(f"undisturbed: {seconds:.2f} s")
    output = os.path.join(directory, "disturbed")
    for attempt in range(4):
        try:
            disturbed(arguments, output, seconds / 2 ** attempt, directory, rounds, **options)
            break
        except TooFast as early:
            # Not all rounds, but what there was of it must be right all the same.
            expect(digest(output) == expected, f"{early}, and its output differs")
            print(f"{early}; again with earlier moments")
    else:
        raise Failure("the program is too fast for its rounds")
    found = digest(output)
    expect(found == expected, f"the output differs:\n{str(found)[:2000]}\ninstead of\n{str(expected)[:2000]}")
    print(f"result: {str(found)[:100]}")
