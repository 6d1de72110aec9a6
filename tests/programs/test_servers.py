# ctest: TIMEOUT 240
# ctest: CASES redis nginx postgresql node
"""Servers as Debian ships them, each with its processes, under its own user and at work: three rounds of dump, kill and
restore at random moments, then asked whether anything was lost."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import harness

OPTIONS = ("--tcp-established", "--file-locks")

# A client inside the tree: every answer counts. It ends when told to by a file.
REDIS_CLIENT = r"""
import os, socket, sys
port = int(sys.argv[1])
stream = socket.create_connection(("127.0.0.1", port)).makefile("rwb")
def ask(*words):
    stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
    stream.flush()
    return stream.readline()
count = 0
while not os.path.exists("end"):
    count += 1
    answer = ask(b"INCR", b"counter")
    if answer != b":%d\r\n" % count:
        sys.exit(f"INCR {count}: {answer}")
    answer = ask(b"RPUSH", b"list", b"value %d" % count)
    if answer != b":%d\r\n" % count:
        sys.exit(f"RPUSH {count}: {answer}")
    if count % 100 == 0:
        open("count.new", "w").write(str(count))
        os.rename("count.new", "count")
open("final", "w").write(str(count))
"""

REDIS = r"""
setpriv --reuid redis --regid redis --clear-groups redis-server --port $1 --bind 127.0.0.1 --dir $PWD/data \
  --save '' --appendonly yes --daemonize no > redis.log 2>&1 &
server=$!
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $1))" 2>/dev/null; do sleep 0.05; done
python3 client.py $1 > client.log 2>&1
echo $? > client.status
wait $server
"""


def need(program, package):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/usr/lib/postgresql/15/bin")
    if not path:
        raise harness.Skip(f"{program} is not installed (Debian package {package})")
    return path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def owned(path, user):
    os.makedirs(path, exist_ok=True)
    entry = pwd.getpwnam(user)
    os.chown(path, entry.pw_uid, entry.pw_gid)
    return path


def three_rounds(pid, directory, after=lambda: None):
    chance = harness.seeded()
    for number in range(3):
        time.sleep(chance.uniform(0.05, 0.5))
        images = f"{directory}/images-{number}"
        began = time.monotonic()
        harness.dump_and_reap(pid, images, *OPTIONS)
        gone = time.monotonic()
        harness.must(harness.restore(images, *OPTIONS))
        print(f"round {number}: dump {gone - began:.3f} s, restore {time.monotonic() - gone:.3f} s")
        after()


def redis(directory):
    need("redis-server", "redis-server"), need("setpriv", "util-linux")
    port = free_port()
    owned(f"{directory}/data", "redis")
    open(f"{directory}/client.py", "w").write(REDIS_CLIENT)
    pid = harness.start(["bash", "-c", REDIS, "redis-test", str(port)], f"{directory}/out", cwd=directory)
    count = lambda: int(harness.read(f"{directory}/count") or 0)
    harness.wait_until(lambda: count() > 0, 20, "the first answers")

    def goes_on():
        now = count()
        harness.wait_until(lambda: count() > now, 10, "more answers after a restore")

    three_rounds(pid, directory, goes_on)
    open(f"{directory}/end", "w").close()
    harness.wait_until(lambda: harness.read(f"{directory}/client.status"), 10, "the end of the client")
    harness.expect(harness.read(f"{directory}/client.status") == "0\n", harness.read(f"{directory}/client.log"))
    final = int(harness.read(f"{directory}/final"))
    stream = socket.create_connection(("127.0.0.1", port), 5).makefile("rwb")

    def ask(line):
        stream.write(line + b"\r\n")
        stream.flush()
        answer = stream.readline()
        return stream.read(int(answer[1:]) + 2)[:-2] if answer.startswith(b"$") else answer[1:].strip()

    answers = [ask(b"GET counter"), ask(b"LLEN list"), ask(b"LINDEX list -1"), ask(b"LINDEX list 0")]
    harness.expect(answers == [b"%d" % final, b"%d" % final, b"value %d" % final, b"value 1"], f"{final}: {answers}")
    stream.write(b"SHUTDOWN NOSAVE\r\n")
    stream.flush()
    harness.expect(harness.wait_for(pid, 10) == 0, "redis-server did not end well: " + harness.read(f"{directory}/redis.log"))
    # What was answered is in its file too.
    harness.expect(harness.read(f"{directory}/data/appendonlydir/appendonly.aof.1.incr.aof").count("INCR") == final,
                   "the file of redis lacks answers")


NGINX = """
daemon off;
user www-data;
worker_processes 2;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {directory}/access.log;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  server {{ listen 127.0.0.1:{port}; root {directory}/www; location = /which {{ return 200 "{text}"; }} }}
}}
"""


def nginx(directory):
    program = need("nginx", "nginx-light")
    port = free_port()
    content = bytes(range(256)) * 4096
    os.mkdir(f"{directory}/www")
    open(f"{directory}/www/file", "wb").write(content)

    def configure(text):
        open(f"{directory}/conf", "w").write(NGINX.format(directory=directory, port=port, text=text))

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return answer.read()

    def answers():
        try:
            return get("which")
        except OSError:
            return None

    configure("first")
    pid = harness.start([program, "-c", f"{directory}/conf"], f"{directory}/out", cwd=directory)
    harness.wait_until(answers, 10, "the first answer")
    workers = harness.read(f"/proc/{pid}/task/{pid}/children").split()
    harness.expect(len(workers) == 2, f"workers: {workers}")

    def serves():
        for _ in range(20):
            harness.expect(get("file") == content and get("which") == b"first", "another answer after a restore")

    serves()
    three_rounds(pid, directory, serves)
    harness.expect(harness.read(f"/proc/{pid}/task/{pid}/children").split() == workers, "other workers")
    configure("second")
    os.kill(pid, signal.SIGHUP)
    harness.wait_until(lambda: answers() == b"second", 10, "the new configuration after a reload")
    harness.wait_until(lambda: not set(workers) & set(harness.read(f"/proc/{pid}/task/{pid}/children").split()), 10,
                       "the end of the old workers")
    os.kill(pid, signal.SIGQUIT)
    harness.expect(harness.wait_for(pid, 10) == 0, harness.read(f"{directory}/error.log"))
    # 21 times 20 of each, and no request was lost or answered twice.
    asked = harness.read(f"{directory}/access.log").count("GET /file ")
    harness.expect(asked == 80, f"{asked} requests of 80 in the log")


def postgresql(directory):
    initdb, server, psql = (need(name, "postgresql-15") for name in ("initdb", "postgres", "psql"))
    data, port = owned(f"{directory}/data", "postgres"), free_port()
    as_user = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups")
    subprocess.run([*as_user, initdb, "-D", data, "-A", "trust", "-N"], check=True, capture_output=True, cwd="/")
    pid = harness.start([*as_user, server, "-D", data, "-k", data, "-p", str(port), "-c", "listen_addresses=127.0.0.1"],
                        f"{directory}/out", cwd="/")

    def ask(query, check=True):
        done = subprocess.run([*as_user, psql, "-X", "-q", "-A", "-t", "-h", data, "-p", str(port), "-c", query, "postgres"],
                              capture_output=True, text=True, timeout=30, cwd="/")
        if check:
            harness.expect(done.returncode == 0, f"{query}: {done.stderr} {harness.read(directory + '/out.err')}")
        return done.stdout.strip()

    harness.wait_until(lambda: ask("SELECT 1", False) == "1", 20, "the first answer")
    ask("CREATE TABLE numbers AS SELECT n, md5(n::text) AS word FROM generate_series(1, 50000) AS n; "
        "CREATE INDEX by_word ON numbers (word)")
    expected = ask("SELECT count(*), sum(n), md5(string_agg(word, '' ORDER BY n)) FROM numbers")
    rows = [50000]

    def queried():
        harness.expect(ask("SELECT count(*), sum(n), md5(string_agg(word, '' ORDER BY n)) FROM numbers WHERE n <= 50000")
                       == expected, "another answer after a restore")
        rows[0] += 10
        ask(f"INSERT INTO numbers SELECT n, 'new' FROM generate_series({rows[0] - 9}, {rows[0]}) AS n")
        harness.expect(ask("SELECT count(*) FROM numbers") == str(rows[0]), "rows are missing")

    three_rounds(pid, directory, queried)
    ask("CHECKPOINT")
    ask("VACUUM ANALYZE numbers")
    os.kill(pid, signal.SIGINT)
    harness.expect(harness.wait_for(pid, 20) == 0, harness.read(f"{directory}/out.err"))
    harness.expect("database system is shut down" in harness.read(f"{directory}/out.err"), "it did not end well")


NODE = r"""
const http = require('http'), crypto = require('crypto');
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (piece) => body += piece);
  request.on('end', () => setTimeout(() => response.end(crypto.createHash('sha256').update(body).digest('hex')), 1));
});
let done = 0;
const all = 1500, digests = new Array(all);
function ask(number) {
  if (number >= all) return;
  const request = http.request({ port: server.address().port, host: '127.0.0.1', method: 'POST', agent }, (response) => {
    let text = '';
    response.on('data', (piece) => text += piece);
    response.on('end', () => {
      digests[number] = text;
      if (++done === all) { digests.forEach((line) => console.log(line)); server.close(); agent.destroy(); }
      ask(number + 4);
    });
  });
  request.on('error', (error) => { console.log(`request ${number}: ${error}`); process.exit(3); });
  request.end('request '.repeat(number % 50) + number);
}
server.keepAliveTimeout = 0;
server.listen(0, '127.0.0.1', () => { for (let i = 0; i < 4; i++) ask(i); });
"""


def node(directory):
    import rounds
    program = need("node", "nodejs")
    open(f"{directory}/script.js", "w").write(NODE)
    rounds.OPTIONS = OPTIONS
    rounds.compare([program, f"{directory}/script.js"], directory, harness.read, 3, cwd=directory)


if os.geteuid() != 0:
    print("SKIPPED: servers run under users of their own, which takes root")
    sys.exit(77)
harness.cases({"redis": redis, "nginx": nginx, "postgresql": postgresql, "node": node})
