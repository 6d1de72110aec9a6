# ctest: TIMEOUT 180
# ctest: CASES pipeline worker_shell multiprocessing
"""Trees as people run them, through three rounds at random moments: the same result as undisturbed."""

import sys

import harness
import rounds

# Six processes, of which the first is slow enough to be met at work; sort holds nearly all of it in memory.
PIPELINE = """
set -o pipefail
i=0
while [ $i -lt 60000 ]; do echo "line $((i * 7919 % 60000)) $((i * i))"; i=$((i + 1)); done |
  tee copy.$$ | sort -k2 -n | awk '{ total += $3; print NR, $0 } END { print "total", total }' | sha256sum
sha256sum < copy.$$
rm copy.$$
"""

# A shell that keeps four workers busy, collects the status of each and begins the next.
WORKERS = """
work() { n=$1; i=0; while [ $i -lt 3000 ]; do n=$(((n * 1103515245 + 12345) % 2147483648)); i=$((i + 1)); done
         echo $n > result.$BASHPID; mv result.$BASHPID $2; return $((n % 7)); }
mkdir -p done.$$
sum=0
for round in 1 2 3 4 5 6 7 8; do
  pids=
  for worker in 1 2 3 4; do work $((round * 10 + worker)) done.$$/$round-$worker & pids="$pids $!"; done
  for pid in $pids; do wait $pid; sum=$((sum * 8 % 1000003 + $?)); done
done
echo sum $sum
cat $(ls done.$$/* | sort)
rm -r done.$$
"""

POOL = """
import hashlib, multiprocessing, sys

def chain(task):
    number, counter, lock = task, shared, mutex
    digest = str(number).encode()
    for _ in range(12000):
        digest = hashlib.sha256(digest).digest()
    with lock:
        counter.value += 1
    return number, digest.hex()

def prepare(value, lock):
    global shared, mutex
    shared, mutex = value, lock

if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    total, lock = multiprocessing.Value("i", 0, lock=False), multiprocessing.Lock()
    with multiprocessing.Pool(4, prepare, (total, lock)) as pool:
        for number, digest in sorted(pool.imap_unordered(chain, range(200), chunksize=3)):
            print(number, digest)
    print("counted", total.value)
"""


def compare(arguments):
    def test(directory):
        rounds.compare(arguments, directory, harness.read, 3, cwd=directory)

    return test


harness.cases({
    "pipeline": compare(["bash", "-c", PIPELINE]),
    "worker_shell": compare(["bash", "-c", WORKERS]),
    "multiprocessing": compare([sys.executable, "-c", POOL]),
})
