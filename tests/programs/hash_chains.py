"""Four threads compute chains of hashes and print their progress. Argument: length of a chain."""

import hashlib
import sys
import threading

lock = threading.Lock()


def chain(number, length):
    value = f"thread {number}".encode()
    for step in range(1, length + 1):
        value = hashlib.sha256(value).digest()
        if step % (length // 20) == 0:
            with lock:
                print(f"thread {number} step {step}: {value.hex()}", flush=True)


threads = [threading.Thread(target=chain, args=(number, int(sys.argv[1]))) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("all done", flush=True)
