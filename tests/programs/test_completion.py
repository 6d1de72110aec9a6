# ctest: TIMEOUT 30
# ctest: CASES bash zsh fish
"""Completion as a shell gives it: commands, options of the command, values, ids of jobs."""

import os
import shutil
import subprocess

import harness
import jobs
from harness import expect


def script(directory, shell):
    path = os.path.join(directory, "completion." + shell)
    with open(path, "w") as stream:
        stream.write(harness.must(harness.engine("generate-completion", shell)).output)
    return path


def with_jobs(directory):
    """An environment where `mini-criu ps` knows two jobs."""
    all_jobs = jobs.Jobs(directory)
    all_jobs.folder = os.path.join(directory, "state", "mini-criu", "jobs")
    for name in ("train-a", "train-b"):
        all_jobs.must("run", "--id", name, "true")
        all_jobs.wait_for_status(name, "finished")
    programs = os.path.join(directory, "bin")
    os.mkdir(programs)
    os.symlink(harness.ENGINE, os.path.join(programs, "mini-criu"))
    return {**os.environ, "XDG_STATE_HOME": os.path.join(directory, "state"), "PATH": f"{programs}:{os.environ['PATH']}"}


def need(shell):
    if not shutil.which(shell):
        raise harness.Skip(f"{shell} is not installed (tools/setup)")


def ask_bash(path, environment, *words):
    quoted = " ".join(f"'{word}'" for word in words)
    text = (f"source {path}; COMP_WORDS=(mini-criu {quoted}); COMP_CWORD={len(words)}; _mini_criu; "
            "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "--norc", "-uc", text], capture_output=True, text=True, timeout=20, env=environment)
    expect(done.returncode == 0 and not done.stderr, done)
    return done.stdout.split()


def bash(directory):
    path, environment = script(directory, "bash"), with_jobs(directory)
    ask = lambda *words: ask_bash(path, environment, *words)
    expect({"dump", "restore", "run", "exec", "resume"} <= set(ask("")) and "swrk" not in ask(""), ask(""))
    expect(ask("res") == ["restore", "resume"], ask("res"))
    expect("--rollback-files" in ask("run", "--") and "--leave-running" not in ask("run", "--"), ask("run", "--"))
    expect("--no-sync" in ask("dump", "--no") and "--freeze-cgroup" not in ask("dump", "--"), ask("dump", "--"))
    expect(ask("resume", "train-") == ["train-a", "train-b"], ask("resume", "train-"))
    expect(ask("--jobs-dir", "/x", "logs", "-f", "train-a")[0] == "train-a", "behind an option with a value")
    expect(ask("restore", "--timers", "re") == ["remaining", "real"], ask("restore", "--timers", "re"))
    os.mkdir(os.path.join(directory, "images"))
    expect(ask("restore", "-D", f"{directory}/im") == [f"{directory}/images"], ask("restore", "-D", f"{directory}/im"))


def zsh(directory):
    need("zsh")
    path, environment = script(directory, "zsh"), with_jobs(directory)
    functions = os.path.join(directory, "functions")
    os.mkdir(functions)
    shutil.copy(path, os.path.join(functions, "_mini-criu"))
    done = subprocess.run(["zsh", "-n", path], capture_output=True, text=True, timeout=20)
    expect(done.returncode == 0 and not done.stderr, done)
    # A real completion, typed at a shell on a pseudo-terminal.
    typed = f"""
zmodload zsh/zpty
zpty z zsh -fi
zpty -w z "PS1=; stty -echo; fpath=({functions} $fpath); autoload -U compinit; compinit -u -D; zstyle ':completion:*' list-prompt ''"
zpty -w z "print READY"
typeset text=
for i in {{1..200}}; do zpty -rt z text && [[ $text == *READY* ]] && break; sleep 0.05; done
zpty -wn z $'mini-criu res\\t\\t'
sleep 1
zpty -wn z $'\\C-u mini-criu resume --rollb\\t'
sleep 1
zpty -wn z $'\\C-u mini-criu logs train-\\t\\t'
sleep 1
while zpty -rt z text; do print -r -- $text; done
zpty -d z
"""
    done = subprocess.run(["zsh", "-fc", typed], capture_output=True, text=True, errors="replace", timeout=25, env=environment,
                          stdin=subprocess.DEVNULL)
    for word in ("restore", "resume", "--rollback-files", "train-a", "train-b"):
        expect(word in done.stdout, f"{word} is not offered: {done}")


def fish(directory):
    need("fish")
    path, environment = script(directory, "fish"), with_jobs(directory)
    environment["HOME"] = directory

    def ask(text):
        done = subprocess.run(["fish", "--no-config", "-c", f"source {path}; complete -C '{text}'"], capture_output=True,
                              text=True, timeout=20, env=environment)
        expect(done.returncode == 0 and not done.stderr, done)
        return [line.split("\t")[0] for line in done.stdout.splitlines()]

    expect(set(ask("mini-criu res")) == {"restore", "resume"}, ask("mini-criu res"))
    expect("--rollback-files" in ask("mini-criu run --ro"), ask("mini-criu run --ro"))
    expect(ask("mini-criu resume train-") == ["train-a", "train-b"], ask("mini-criu resume train-"))
    expect(set(ask("mini-criu restore --timers re")) == {"real", "remaining"}, ask("mini-criu restore --timers re"))


harness.cases({"bash": bash, "zsh": zsh, "fish": fish})
