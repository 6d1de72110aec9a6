#include "tools/option_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace mcr::cli {
namespace {

constexpr Command kCommands[] = {
    {"dump", kDump, "-t PID [OPTION]...", "Save a running process to an image folder",
     "Freezes the process, saves its whole state to the image folder and then ends it, or lets it go on (-R), or "
     "leaves it stopped (-s). When the dump fails, the process goes on as if nothing had happened, and the folder "
     "keeps the image that it held before. With -D - the image goes to standard output as it is made; the process is "
     "ended when all of it has been taken."},
    {"pre-dump", kDump, "-t PID [OPTION]...", "Save the memory of a running process ahead of a dump",
     "Saves the memory of a process to an image folder, lets the process go on at once and notes from then on what it "
     "writes (--track-mem). A later dump or pre-dump with --prev-images-dir stores only that. Nothing can be restored "
     "from such an image alone. Takes the options of dump."},
    {"restore", kRestore, "[OPTION]... [--exec-cmd -- COMMAND [ARGUMENT]...] [--gdb [-- ARGUMENT...]]",
     "Bring a process back from its image",
     "Makes the process of an image anew, under the same pid, and lets it go on where it was frozen. Without -d, "
     "mini-criu stays in the foreground, passes signals on to the program and ends as the program ends: with its exit "
     "status, or by the same signal."},
    {"check", kCheck, "[-t PID [OPTION]... | -D DIR [OPTION]... | --feature NAME]",
     "Say beforehand whether a dump or a restore can work",
     "With -t: looks at a running program, and all below it, without stopping or tracing it, and prints what a dump "
     "would save, everything that stands in its way with what to do about it, and how large the image and how long the "
     "pause will be. Takes the options of dump, which change the verdict. With -D: the same of a restore of that image "
     "on this host, with the options of restore; nothing is made. Alone: tries every kernel feature that dump and "
     "restore use and says of each missing one why it is missing, what needs it and what to do about it. Ends with 0 "
     "when nothing stands in the way, else with 1."},
    {"show", kShow, "[DIR|FILE|-] [--tree|--fds|--mem|--sockets|--maps PID] [--json]", "Print what an image holds",
     "Prints an image folder in short, one side of it (--tree and so on), or the records of one file of it as JSON. "
     "With "
     "--json a whole folder, or the side of it, is printed as JSON."},
    {"stat", kStat, "[DIR|-] [--json]", "Print where the bytes of an image are",
     "Adds up what an image holds of memory and what it takes of disk: by process, by kind of mapping and by kind of "
     "file. Pages of zeros, pages that are stored once for many, packed ones, and those that lie in the image before "
     "are "
     "told apart."},
    {"verify", kVerify, "[DIR|-] [--key FILE]", "Read a whole image and check every byte of it",
     "Reads every record and every page of an image, compares all checksums and checks that the records fit together. "
     "With --key the seal must hold too. Nothing is restored."},
    {"diff", kDiff, "BEFORE AFTER [--expected] [--json]", "Compare two images of one program",
     "Compares all that two images hold of the program: processes, threads, mappings, pages, descriptors. One line a "
     "difference. Differences that have a documented reason (docs/diff.md) do not count; --expected prints them too. "
     "Ends "
     "with 0 when nothing differs and with 4 otherwise."},
    {"export", kExport, "DIR -o FILE.tar", "Make one tar file of an image",
     "Writes an image, and all that it builds upon, to one tar file that begins with a manifest: names, sizes and "
     "digests. "
     "The same image gives the same bytes. The image is verified before. With -o - the file goes to standard output."},
    {"import", kImport, "FILE.tar -D DIR", "Make an image folder of such a tar file",
     "Unpacks what export has written into a new folder, which appears whole and verified or not at all. Nothing is "
     "written "
     "anywhere else, whatever the file says. With - the file is read from standard input."},
    {"merge", kMerge, "DIR -o NEW", "Make one image of one that builds upon others",
     "Reads an incremental image with all that it builds upon and writes one image to the folder NEW that needs none "
     "of "
     "them. Equal pages are stored once. The images that were read stay as they are."},
    {"seal", kSeal, "DIR --key FILE", "Seal an image, so that a change is detected",
     "Writes a file \"seal\" into the folder of an image, and of each that it builds upon: with a key, digests of all "
     "files. "
     "It authenticates, and hides nothing. verify --key and restore --key refuse what is not as it was sealed."},
    {"unseal", kUnseal, "DIR --key FILE", "Take the seal off an image",
     "Checks the seal of an image and removes it, so that the folder can be changed again. What the image builds upon "
     "stays "
     "sealed."},
    {"keygen", kKeygen, "FILE", "Make a key to seal images with",
     "Writes a new random key to FILE, which must not exist, readable by its owner alone. Who has it can seal and "
     "check; "
     "without it nobody can."},
    {"lazy-pages", kLazyPages, "DIR [--address ADDRESS] [--port PORT] [--key FILE]",
     "Give an image to a restore on another host",
     "Waits for restore --page-server on another host and gives it what it asks for, at first what describes the "
     "program, then its memory, with --lazy-pages while the program runs there already. Ends when all of that is "
     "there. "
     "Whoever can connect can read the image: stay on 127.0.0.1, the default, and connect through ssh -L, where others "
     "share the network."},
    {"page-server", kPageServer, "-D DIR [--address ADDRESS] [--port PORT]", "Take the image of a dump on another host",
     "Waits for one dump --page-server on another host, takes the image and makes it the one of the folder. The "
     "program "
     "there is ended only when the image is checked, and on the disk, here. Whoever can connect can send one."},
    {"stacks", kStacks, "-t PID|DIR [PID] [--json]", "Print the stack of every thread of a program or of an image",
     "Prints for each thread what it does and the functions that it is in, innermost first. With -t of a running "
     "process "
     "and all its descendants, which stand still only while registers and stacks are copied; with a folder of the "
     "processes of an image, or of one of them, without the program. Names come from the mapped files, or by build-id "
     "from --debug-dir. What cannot be followed or had is said."},
    {"core", kCore, "[DIR] [PID] -o FILE [--force] [--with-files]",
     "Write a process of an image as an ELF core for a debugger",
     "Writes an ELF core that gdb opens like one of the kernel: all threads with their registers, memory, the "
     "auxiliary "
     "vector and the files that are mapped. PID is one of the image (default: the first). The core is sparse, and "
     "holds "
     "what the kernel would put there; of mapped files gdb finds the rest in the files themselves."},
    {"gpu", kGpu, "list|state|lock|suspend|resume|unlock [-t PID]",
     "Free a GPU while its program stays in memory, and back",
     "Asks the CUDA driver itself, which needs no checkpoint: list prints the GPUs of this host, state which processes "
     "of "
     "the tree use CUDA. suspend halts their GPU work and moves what is in device memory to host memory, so that the "
     "GPU "
     "is free for others; resume brings it back. lock only halts, unlock lets go on. All of a tree or, when one fails, "
     "none."},
    {"run", kRun, "[OPTION]... [--] COMMAND [ARGUMENT]...", "Start a program as a job",
     "Starts a program in the background, under an id, with a supervisor that looks after it: checkpoints on demand "
     "and "
     "by the clock, output in a log, restart after a crash. Prints the id and ends; with --follow it stays, prints "
     "what "
     "the program prints, passes signals on and ends as the program ends. Each job has a folder below --jobs-dir."},
    {"exec", kRun, "[OPTION]... [--] COMMAND [ARGUMENT]...", "The same as run, by another name",
     "Starts a program as a job: see run."},
    {"ps", kPs, "[--watch [SECONDS]]", "List the jobs",
     "One line a job: its id, pid and status, its last checkpoint with size and age, and what has failed last. With "
     "--watch the table is printed anew every two seconds, or as often as is said, until it is interrupted."},
    {"logs", kLogs, "[-f] ID", "Print what a job has printed",
     "Prints the output of a job; with --follow also what comes, until the job ends. What a resume has taken back, as "
     "it is printed again, lies in discarded.log in the job's folder."},
    {"attach", kAttach, "ID [--detach-keys KEYS]", "Sit down at the terminal of a job",
     "Keys go to the program of a job that was started with --tty, what it prints comes here, and it is told the size "
     "of "
     "the window. Ctrl-P Ctrl-Q leaves; the job goes on."},
    {"checkpoint", kCheckpoint, "ID [--stop] [--into DIR]", "Take a checkpoint of a job",
     "Saves a running job as its next checkpoint and lets it go on; with --stop it ends, as with stop. \"dump job ID "
     "-d "
     "DIR\" is another spelling of checkpoint ID --stop --into DIR --display-stats, with -R without --stop."},
    {"stop", kStop, "ID [--no-checkpoint]", "Take a checkpoint of a job and end it",
     "Saves a running job and ends it; resume goes on with it. When the checkpoint fails, the job goes on. With "
     "--no-checkpoint it is ended at once, and what it has done since its last checkpoint is lost."},
    {"resume", kResume, "ID [--from N] [OPTION]...", "Go on with a job from a checkpoint",
     "Restores the program of a job that does not run, from its last checkpoint or the one that is named, with the "
     "same "
     "pid. The log is put back to what it was at that moment, and so are the files of --rollback-files. Options of run "
     "that are given replace those the job had. Without an ID, --from names the folder of a job's image that another "
     "host has made: a job is made of it here. \"restore job ID\" is another spelling."},
    {"rm", kRemove, "ID...", "Remove jobs that do not run, with all their checkpoints",
     "Removes the folders of jobs: logs, images and all."},
    {"inspect", kInspect, "ID [--json]", "Print all that is known of a job",
     "Prints what was asked for, how the job stands, its checkpoints and where its files are."},
    {"swrk", 0, "", "requests over an inherited socket", ""},
    {"service", 0, "", "requests over a socket", ""},
    {"cpuinfo", 0, "", "processor features compared between hosts", ""},
    {"dedup", 0, "", "pages removed that a later image holds", ""},
    {"start", 0, "", "a job started with a tag and an interval", ""},
};

constexpr auto kFlag = Takes::nothing;
constexpr auto kValue = Takes::value;
constexpr auto kMaybe = Takes::maybe_value;
constexpr auto kBuilt = State::built;
constexpr auto kRefused = State::refused;
constexpr auto kIgnored = State::ignored;
constexpr auto kLater = Group::later;
constexpr unsigned kBoth = kDump | kRestore;

// clang-format off
constexpr Option kOptions[] = {
    // ---- common ----
    {"images-dir", 'D', kValue, "DIR", kBoth | kCheck | kLazyPages | kPageServer | kShow | kVerify | kStat | kExport | kImport | kMerge | kSeal | kUnseal | kStacks | kCore, kBuilt, Group::common,
     "The image folder (default: the current one); dump creates it when it is missing. With -D - the whole image is one "
     "stream on standard output, or comes as one on standard input"},
    {"work-dir", 'W', kValue, "DIR", kBoth, kBuilt, Group::common,
     "Where relative log and pid files go; must exist (default: the image folder; with -D - the current one)"},
    {"log-file", 'o', kValue, "FILE", kBoth, kBuilt, Group::common,
     "Write the log to FILE, relative to the work folder (default: standard error)"},
    {"verbosity", 'v', kMaybe, "N", kAll, kBuilt, Group::common,
     "0 only closing lines, 1 errors, 2 warnings (default), 3 information, 4 debug; -v alone is one more, -vv two more",
     true},
    {"log-pid", 0, kFlag, "", kBoth, kBuilt, Group::common, "Begin each line of the log with the pid of its writer"},
    {"shell-job", 'j', kFlag, "", kBoth | kCheck, kBuilt, Group::common,
     "The program belongs to the session and the terminal of a shell; restore gives it the current ones"},
    {"timeout", 0, kValue, "SECONDS", kBoth | kGpu | kStacks | kCheck, kBuilt, Group::common,
     "Give up after so long: dump and stacks on the freeze (default 10, 0: never), restore on each answer of a new process (default "
     "0: ten minutes)"},
    {"file-validation", 0, kValue, "filesize|buildid|none", kBoth | kResume | kCheck, kBuilt, Group::common,
     "How restore recognises that a file has changed (default: buildid, which looks at size and owner too)"},
    {"cpu-cap", 0, kMaybe, "LIST", kBoth | kCheck | kRun | kResume, kBuilt, Group::common,
     "Which features of the first CPU restore demands: fpu (registers), ins (instructions; both are the default), cpu "
     "or all (every flag), none; a dump records all of them"},
    {"manage-cgroups", 0, kMaybe, "MODE", kBoth | kCheck, kBuilt, Group::common,
     "Save and restore control groups. Restore: soft (default) makes missing ones and configures these, full configures "
     "all, props and none make none, strict demands that there are none yet, ignore does nothing"},
    {"action-script", 0, kValue, "FILE", kBoth, kBuilt, Group::common,
     "Run FILE at every named moment, with CRTOOLS_SCRIPT_ACTION set; a status other than 0 ends the "
     "operation (at post-resume it is only logged)", true},
    {"status-fd", 0, kValue, "FD", kBoth, kBuilt, Group::common,
     "Write one zero byte to this descriptor and close it when all went well"},
    {"display-stats", 0, kFlag, "", kBoth | kCheckpoint | kStop, kBuilt, Group::common,
     "Print times and amounts when done; restore: also to stats-restore.img"},
    {"json", 0, kFlag, "", kAll, kBuilt, Group::common, "Print the outcome, good or bad, as one JSON object"},
    {"config", 0, kValue, "FILE", kAll, kBuilt, Group::common,
     "Read options from FILE instead of the default configuration files"},
    {"default-config", 0, kFlag, "", kAll, kBuilt, Group::common, "Do not read the default configuration files",
     false, true},
    {"version", 'V', kFlag, "", kAll, kBuilt, Group::common, "Print the version"},
    {"help", 'h', kFlag, "", kAll, kBuilt, Group::common, "Print this help"},
    // ---- dump ----
    {"tree", 't', kValue, "PID", kDump | kGpu | kStacks | kCheck, kBuilt, Group::dump, "The process to save (check: to look at), and all its descendants"},
    {"leave-running", 'R', kFlag, "", kDump, kBuilt, Group::dump, "Let the process go on after the dump"},
    {"live", 0, kFlag, "", kDump | kRun | kResume, kBuilt, Group::dump,
     "Let the process go on (as -R) before its memory is stored: that is read from a copy-on-write copy, so that it "
     "stands still for milliseconds only"},
    {"leave-stopped", 's', kFlag, "", kBoth | kCheck, kBuilt, Group::dump,
     "Leave the process stopped afterwards (dump and restore)"},
    {"ghost-limit", 0, kValue, "SIZE", kDump | kCheck, kBuilt, Group::dump,
     "Save the content of an open but deleted file up to this size, with K, M or G (default: any)"},
    {"file-locks", 'l', kFlag, "", kBoth | kCheck, kBuilt, Group::dump,
     "Keep file locks and leases, which restore takes again; without it a program that holds one is refused"},
    {"external", 0, kValue, "RESOURCE", kBoth | kCheck, kBuilt, Group::dump,
     "Leave this open file out of the image: file[MOUNT:INODE], tty[RDEV:DEV], pipe[INODE] or socket[INODE]", true},
    {"link-remap", 0, kFlag, "", kBoth | kRun | kCheck, kBuilt, Group::dump,
     "Make a temporary link for an open file whose name is gone while it has others; restore removes it"},
    {"sync", 0, kFlag, "", kDump | kImport | kMerge | kPageServer, kBuilt, Group::dump,
     "Do not wait for the disk: quicker, but a power cut soon after may cost the image", false, true},
    {"ext-unix-sk", 'x', kMaybe, "INODE", kBoth | kCheck, kBuilt, Group::dump,
     "The other end of a unix socket may be outside of the tree (of this one, or of any); restore connects to it again "
     "by its name", true},
    {"stream", 0, kValue, "N", kBoth | kRun | kResume | kCheckpoint | kStop, kBuilt, Group::dump,
     "Spread the memory of all processes over N files, 1 to 64, written in parallel; restore reads that from the image, "
     "and takes N as the number of threads that read"},
    {"compress", 0, kValue, "none|lz4", kDump, kBuilt, Group::dump,
     "How the files of --stream are compressed (default: lz4); without --stream, into as many as there are processors"},
    {"tcp-established", 0, kFlag, "", kBoth | kRun | kCheck, kBuilt, Group::dump,
     "Save open TCP connections, nothing is sent about it; those that are being opened, or wait to be accepted, are made "
     "anew"},
    {"network-lock", 0, kValue, "nftables|skip", kBoth | kCheck, kBuilt, Group::dump,
     "How the packets of TCP connections with others are kept away while the program is down: nftables (default), or "
     "skip, when something else does it"},
    {"tcp-close", 0, kFlag, "", kBoth | kRun | kCheck, kBuilt, Group::dump,
     "Open TCP connections are closed after the restore (dump: save them so; restore: whatever the image has)"},
    {"skip-in-flight", 0, kFlag, "", kBoth | kRun | kCheck, kBuilt, Group::dump,
     "TCP connections that are being opened, or wait to be accepted, are lost where they cannot be saved"},
    {"track-mem", 0, kFlag, "", kDump, kBuilt, Group::dump,
     "Note from here on what the program writes, so that the next dump needs to store only that"},
    {"prev-images-dir", 0, kValue, "DIR", kDump, kBuilt, Group::dump,
     "Store only the memory that was written since the image in DIR (relative to the image folder), which was made with "
     "--track-mem; restore needs both"},
    // ---- restore ----
    {"restore-detached", 'd', kFlag, "", kRestore, kBuilt, Group::restore,
     "End once the program runs again, instead of staying in the foreground"},
    {"restore-sibling", 'S', kFlag, "", kRestore | kCheck, kBuilt, Group::restore,
     "Make the program a child of the caller of mini-criu (together with -d)"},
    {"pidfile", 0, kValue, "FILE", kRestore, kBuilt, Group::restore,
     "Write the pid of the restored program to FILE, which must not exist"},
    {"inherit-fd", 0, kValue, "fd[N]:RESOURCE", kRestore | kCheck, kBuilt, Group::restore,
     "Give the program this descriptor of the caller in place of an external resource, or of a file by its path", true},
    {"gpu-map", 0, kValue, "OLD=NEW", kRestore | kCheck, kBuilt, Group::restore,
     "The GPU of this host that takes the place of one of the image, both by UUID (mini-criu gpu list); without it a GPU "
     "that is here stays what it is, and others go where there is exactly one way",
     true},
    {"timers", 0, kValue, "remaining|real", kRestore, kBuilt, Group::restore,
     "Timers go on with the time that remained when the program was saved, or as if they had run on meanwhile (default: "
     "remaining)"},
    {"cgroup-root", 0, kValue, "[HIERARCHY:]PATH", kRestore | kCheck, kBuilt, Group::restore,
     "The control group that takes the place of the root process's (with --manage-cgroups)", true},
    {"lazy-pages", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "The program runs before its memory is there: pages come when they are touched, and the others behind its back"},
    {"page-server", 0, kFlag, "", kBoth, kBuilt, Group::common,
     "The image goes to mini-criu page-server on another host (dump), or is read from mini-criu lazy-pages there "
     "(restore), at --address and --port; -D is not used"},
    {"address", 0, kValue, "ADDRESS", kBoth | kLazyPages | kPageServer, kBuilt, Group::common,
     "Where the server listens: an address or a name (default: 127.0.0.1)"},
    {"port", 0, kValue, "PORT", kBoth | kLazyPages | kPageServer, kBuilt, Group::common,
     "The port that the server listens at (a server's default: any that is free, which it prints)"},
    {"exec-cmd", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "Afterwards run the command behind \"--\" in place of mini-criu, as the parent of the program"},
    {"stopped", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "Leave the program stopped at the exact instruction where it was saved, for a debugger; SIGCONT lets it go on (as -s)"},
    {"gdb", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "Start gdb on the program, which stands as with --stopped, with the arguments behind \"--\". When gdb ends without "
     "having ended the program, it goes on"},
    {"new-pids", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "Give the program its pids in a pid namespace of its own: beside the original, or another copy"},
    // ---- inspect ----
    {"feature", 0, kValue, "NAME", kCheck, kBuilt, Group::inspect,
     "Look at this feature only; \"list\" prints the names", true},
    {"expected", 0, kFlag, "", kDiff, kBuilt, Group::inspect,
     "Print the differences that have a documented reason too"},
    {"show-tree", 0, kFlag, "", kShow, kBuilt, Group::inspect,
     "The processes, children below their parents: groups, sessions, threads, memory, state",
     false, false, {}, "tree"},
    {"fds", 0, kFlag, "", kShow, kBuilt, Group::inspect,
     "Every descriptor: kind, how it is open, offset, path or ends; the same object number: shared"},
    {"mem", 0, kFlag, "", kShow, kBuilt, Group::inspect, "The memory of each process by kind of mapping"},
    {"sockets", 0, kFlag, "", kShow, kBuilt, Group::inspect, "Every socket: state, addresses, bytes that wait"},
    {"maps", 0, kValue, "PID", kShow, kBuilt, Group::inspect, "The mappings of one process"},
    {"output", 'o', kValue, "FILE", kExport | kMerge | kCore, kBuilt, Group::inspect,
     "Where the result goes: the tar file of export (-: standard output), the folder of merge, the file of core"},
    {"key", 0, kValue, "FILE", kSeal | kUnseal | kVerify | kRestore | kExport | kMerge | kLazyPages, kBuilt, Group::inspect,
     "The key of the seal, made by keygen. verify, restore, export and merge: the image must be sealed with it, and the seal must hold"},
    {"debug-dir", 0, kValue, "DIR", kStacks, kBuilt, Group::inspect,
     "A folder with files for debuggers below .build-id; may be given several times (/usr/lib/debug is always looked at)",
     true},
    {"force", 0, kFlag, "", kCore, kBuilt, Group::inspect, "Write over FILE when it exists"},
    {"with-files", 0, kFlag, "", kCore, kBuilt, Group::inspect,
     "Put the content of mapped files into the core too, where they are as they were, so that it can be read elsewhere"},
    // ---- jobs ----
    {"jobs-dir", 0, kValue, "DIR", kJobs, kBuilt, Group::jobs,
     "Where jobs are kept (default: $XDG_STATE_HOME/mini-criu/jobs, or ~/.local/state/mini-criu/jobs)"},
    {"id", 'i', kValue, "ID", kRun | kResume, kBuilt, Group::jobs,
     "The name of the job (default: the program's, with a number; resume --from DIR: what it was called)"},
    {"tty", 0, kFlag, "", kRun, kBuilt, Group::jobs,
     "(-t) The program gets a terminal, to sit down at with --follow or attach; what it prints is in the log too"},
    {"detach-keys", 0, kValue, "KEYS", kRun | kResume | kAttach, kBuilt, Group::jobs,
     "The keys that leave the terminal of a job (default: ctrl-p,ctrl-q)"},
    {"directory", 'w', kValue, "DIR", kRun, kBuilt, Group::jobs, "Where the program starts (default: the current folder)"},
    {"gpu", 0, kFlag, "", kRun, kBuilt, Group::jobs,
     "The program needs a GPU: refuse to start it where the driver has none, or cannot save one"},
    {"env", 0, kValue, "NAME=VALUE", kRun, kBuilt, Group::jobs, "Add this to the environment of the program", true},
    {"every", 0, kValue, "TIME", kRun | kResume, kBuilt, Group::jobs,
     "Take a checkpoint so often (30s, 10m, 2h; 0: never, the default); the program goes on"},
    {"after", 0, kValue, "TIME", kRun | kResume, kBuilt, Group::jobs,
     "After so long take a checkpoint and stop (0: never, the default)"},
    {"keep", 0, kValue, "N", kRun | kResume, kBuilt, Group::jobs,
     "Keep the last N checkpoints and remove older ones (0: keep all, the default)"},
    {"on-signal", 0, kValue, "LIST", kRun, kBuilt, Group::jobs,
     "On one of these signals (USR1,TERM) take a checkpoint, stop, and end with --requeue-status; implies --follow. "
     "Started again with the same --id, the job is resumed"},
    {"grace", 0, kValue, "TIME", kRun, kBuilt, Group::jobs,
     "How long a checkpoint by --on-signal may take before it is given up (0: any, the default)"},
    {"requeue-status", 0, kValue, "N", kRun, kBuilt, Group::jobs,
     "The exit status after a checkpoint by --on-signal (default: 85)"},
    {"restart", 0, kValue, "N", kRun | kResume, kBuilt, Group::jobs,
     "When the program crashes, is killed or ends with a status other than 0, go back to its last checkpoint, up to N "
     "times, after 1, 2, 4, ... 64 seconds (default: 0)"},
    {"push", 0, kValue, "COMMAND", kRun | kResume, kBuilt, Group::jobs,
     "Hand every finished checkpoint to this command, its words separated by blanks; {} stands for the folder, which "
     "comes last otherwise (\"rsync -a {} backup:jobs/\"). It runs beside the job and holds up no checkpoint"},
    {"push-timeout", 0, kValue, "TIME", kRun | kResume, kBuilt, Group::jobs,
     "End the command of --push after so long (default: 1h)"},
    {"rollback-files", 0, kFlag, "", kRun | kResume, kBuilt, Group::jobs,
     "Save the files that are open for writing with each checkpoint, and put them back on resume"},
    {"follow", 'f', kFlag, "", kRun | kLogs | kResume, kBuilt, Group::jobs,
     "Print the output as it comes, or sit down at the terminal (--tty); run and resume pass signals on and end as the "
     "program ends"},
    {"stop", 0, kFlag, "", kCheckpoint, kBuilt, Group::jobs, "End the program when the checkpoint is whole"},
    {"checkpoint", 0, kFlag, "", kStop, kBuilt, Group::jobs, "End the program at once, without a checkpoint", false, true},
    {"into", 0, kValue, "DIR", kCheckpoint | kStop, kBuilt, Group::jobs,
     "Write the image to this folder, new or empty, rather than to the job's; it stays when the job is removed"},
    {"watch", 0, kMaybe, "SECONDS", kPs, kBuilt, Group::jobs, "Print the table again and again (default: every 2 seconds)"},
    {"from", 0, kValue, "N|DIR", kResume, kBuilt, Group::jobs,
     "The number of the checkpoint (default: the last of those the program has behind it), or the folder of one that "
     "another host has made"},
    {"take-over", 0, kFlag, "", kResume, kBuilt, Group::jobs,
     "The job ran on another host, which is down: go on with it here"},
    // ---- testing ----
    {"count-timers", 0, kFlag, "", kRestore, kBuilt, Group::testing,
     "Give POSIX timers their ids as on kernels before 6.15, by counting up to them"},
    {"redirect-vdso", 0, kFlag, "", kRestore, kBuilt, Group::testing,
     "Restore as if the kernel's vdso had changed, even where it has not"},
    // ---- accepted, without effect ----
    {"libdir", 'L', kValue, "DIR", kBoth, kIgnored, kLater,
     "there are no plugins to load; what only a plugin could save is refused by name"},
    {"ghost-fiemap", 0, kFlag, "", kDump, kIgnored, kLater,
     "only chooses how holes of a deleted file are found; the image is the same"},
    {"unprivileged", 0, kFlag, "", kBoth | kCheck, kIgnored, kLater,
     "mini-criu starts under every user, and says where a right is missing"},
    {"cgroup-yard", 0, kValue, "DIR", kBoth, kIgnored, kLater,
     "hierarchies that are mounted nowhere are reached without a folder"},
    {"pre-dump-mode", 0, kValue, "splice|read", kDump, kIgnored, kLater,
     "memory is read in one way, ahead of a dump too"},
    {"deprecated", 0, kFlag, "", kBoth | kCheck, kIgnored, kLater, "nothing here is deprecated that it could allow"},
    // ---- not built yet ----
    {"freeze-cgroup", 0, kValue, "PATH", kDump, kRefused, kLater, "freezing through a control group"},
    {"force-irmap", 0, kFlag, "", kBoth, kRefused, kLater, "finding watched files by their inode number"},
    {"irmap-scan-path", 0, kValue, "PATH", kBoth, kRefused, kLater, "finding watched files by their inode number", true},
    {"ext-mount-map", 'M', kValue, "KEY:VALUE", kBoth, kRefused, kLater, "mounts from outside", true},
    {"enable-external-sharing", 0, kFlag, "", kBoth, kRefused, kLater, "shared mounts from outside"},
    {"enable-external-masters", 0, kFlag, "", kBoth, kRefused, kLater, "slave mounts from outside"},
    {"skip-mnt", 0, kValue, "PATH", kBoth, kRefused, kLater, "mount namespaces", true},
    {"enable-fs", 0, kValue, "LIST", kBoth, kRefused, kLater, "file systems of mount namespaces", true},
    {"mntns-compat-mode", 0, kFlag, "", kBoth, kRefused, kLater, "mount namespaces"},
    {"empty-ns", 0, kValue, "net", kBoth, kRefused, kLater, "network namespaces"},
    {"veth-pair", 0, kValue, "IN=OUT", kRestore, kRefused, kLater, "network namespaces", true},
    {"join-ns", 'J', kValue, "NS:FILE", kRestore, kRefused, kLater, "restoring into other namespaces", true},
    {"cgroup-props", 0, kValue, "STRING", kDump, kRefused, kLater, "a choice of the settings of control groups"},
    {"cgroup-props-file", 0, kValue, "FILE", kDump, kRefused, kLater, "a choice of the settings of control groups"},
    {"cgroup-dump-controller", 0, kValue, "NAME", kDump, kRefused, kLater, "a choice of controllers", true},
    {"lsm-profile", 0, kValue, "TYPE:NAME", kRestore, kRefused, kLater, "profiles of security modules"},
    {"lsm-mount-context", 0, kValue, "CONTEXT", kRestore, kRefused, kLater, "profiles of security modules"},
    {"root", 'r', kValue, "PATH", kBoth, kRefused, kLater, "another root folder"},
    {"auto-dedup", 0, kFlag, "", kBoth, kRefused, kLater, "removing pages that a later image holds"},
    {"ps-socket", 0, kValue, "FD", kBoth, kRefused, kLater, "a connection to a server that is open already"},
    {"skip-file-rwx-check", 0, kFlag, "", kRestore, kRefused, kLater, "files whose permissions have changed"},
    {"allow-uprobes", 0, kFlag, "", kDump, kRefused, kLater, "programs with uprobes"},
    {"weak-sysctls", 0, kFlag, "", kRestore, kRefused, kLater, "settings of network namespaces"},
    {"evasive-devices", 0, kFlag, "", kDump, kRefused, kLater, "device files that cannot be opened by their path"},
    {"tls", 0, kFlag, "", kBoth, kRefused, kLater, "encrypted connections between hosts (ssh -L does it)"},
    {"background", 0, kFlag, "", kBoth, kRefused, kLater, "servers in the background"},
    {"daemon", 0, kFlag, "", kBoth, kRefused, kLater, "servers in the background"},
    {"all", 0, kFlag, "", kCheck, kRefused, kLater, "a stricter verdict of check (it looks at every feature anyway)"},
    {"extra", 0, kFlag, "", kCheck, kRefused, kLater, "a stricter verdict of check (it looks at every feature anyway)"},
    {"experimental", 0, kFlag, "", kCheck, kRefused, kLater, "a stricter verdict of check (it looks at every feature anyway)"},
};
// clang-format on

}  // namespace

std::span<const Command> commands() {
  return kCommands;
}
std::span<const Option> options() {
  return kOptions;
}

const Command* find_command(std::string_view name) {
  const auto* found = std::ranges::find(kCommands, name, &Command::name);
  return found == std::end(kCommands) ? nullptr : found;
}

namespace {

template <typename Matches>
const Option* find_matching(unsigned command, Matches matches) {
  const Option* first = nullptr;
  for (const Option& known : kOptions) {
    if (!matches(known)) continue;
    if ((known.commands & command) != 0) return &known;
    if (!first) first = &known;
  }
  return first;
}

}  // namespace

const Option* find_option(std::string_view name, unsigned command) {
  return find_matching(command, [&](const Option& known) { return known.typed_name() == name; });
}

const Option* find_option(char letter, unsigned command) {
  if (letter == 0) return nullptr;
  return find_matching(command, [&](const Option& known) { return known.letter == letter; });
}

const Option& option(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, name, &Option::name);
  if (found == std::end(kOptions)) throw Error(Fault::internal, fmt::format("no option is called {}", name));
  return *found;
}

std::string_view group_title(Group group) {
  switch (group) {
    case Group::common:
      return "Common options";
    case Group::dump:
      return "Options of dump";
    case Group::restore:
      return "Options of restore";
    case Group::inspect:
      return "Options that look at hosts, programs and images";
    case Group::jobs:
      return "Options of jobs";
    case Group::testing:
      return "For testing";
    case Group::later:
      return "Options of CRIU without effect here";
  }
  return {};
}

std::string_view state_name(State state) {
  switch (state) {
    case State::built:
      return "built";
    case State::refused:
      return "refused";
    case State::ignored:
      return "ignored";
  }
  return {};
}

std::string shown_name(const Option& option) {
  return fmt::format("--{}{}", option.starts_on ? "no-" : "", option.typed_name());
}

std::string spelling(const Option& option) {
  const std::string letter = option.letter ? fmt::format("-{}, ", option.letter) : "    ";
  switch (option.takes) {
    case Takes::nothing:
      return letter + shown_name(option);
    case Takes::value:
      return fmt::format("{}{} {}", letter, shown_name(option), option.value);
    case Takes::maybe_value:
      return fmt::format("{}{}[={}]", letter, shown_name(option), option.value);
  }
  return letter;
}

}  // namespace mcr::cli
