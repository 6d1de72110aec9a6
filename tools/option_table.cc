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
     "keeps the image that it held before."},
    {"restore", kRestore, "[OPTION]... [--exec-cmd -- COMMAND [ARGUMENT]...]", "Bring a process back from its image",
     "Makes the process of an image anew, under the same pid, and lets it go on where it was frozen. Without -d, "
     "mini-criu stays in the foreground, passes signals on to the program and ends as the program ends: with its exit "
     "status, or by the same signal."},
    {"check", kCheck, "[--feature NAME]", "Say what this host can do",
     "Tries every kernel feature that dump and restore use and says of each missing one why it is missing, what needs "
     "it and what to do about it. Ends with 0 when dump and restore can work here."},
    {"show", kShow, "[DIR|FILE] [--json]", "Print what an image holds",
     "Prints an image folder in short, or the records of one file of it as JSON. With --json a whole folder is "
     "printed as JSON."},
    {"verify", kVerify, "[DIR]", "Read a whole image and check every byte of it",
     "Reads every record and every page of an image, compares all checksums and checks that the records fit together. "
     "Nothing is restored."},
    {"diff", kDiff, "BEFORE AFTER [--expected] [--json]", "Compare two images of one program",
     "Compares all that two images hold of the program: processes, threads, mappings, pages, descriptors. One line a "
     "difference. Differences that have a documented reason (docs/diff.md) do not count; --expected prints them too. "
     "Ends "
     "with 0 when nothing differs and with 4 otherwise."},
    {"pre-dump", 0, "", "memory ahead of a later dump", ""},
    {"page-server", 0, "", "pages received over a network", ""},
    {"lazy-pages", 0, "", "pages brought in after the restore", ""},
    {"swrk", 0, "", "requests over an inherited socket", ""},
    {"service", 0, "", "requests over a socket", ""},
    {"exec", 0, "", "a system call run in another process", ""},
    {"cpuinfo", 0, "", "processor features compared between hosts", ""},
    {"dedup", 0, "", "pages removed that a later image holds", ""},
    {"run", 0, "", "a program started as a job", ""},
    {"ps", 0, "", "the table of jobs", ""},
    {"start", 0, "", "a job started with a tag and an interval", ""},
    {"stop", 0, "", "a job checkpointed and stopped", ""},
    {"resume", 0, "", "a job continued from its last checkpoint", ""},
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
    {"images-dir", 'D', kValue, "DIR", kBoth | kShow | kVerify, kBuilt, Group::common,
     "The image folder (default: the current one); dump creates it when it is missing"},
    {"work-dir", 'W', kValue, "DIR", kBoth, kBuilt, Group::common,
     "Where relative log and pid files go; must exist (default: the image folder)"},
    {"log-file", 'o', kValue, "FILE", kBoth, kBuilt, Group::common,
     "Write the log to FILE, relative to the work folder (default: standard error)"},
    {"verbosity", 'v', kMaybe, "N", kAll, kBuilt, Group::common,
     "0 only closing lines, 1 errors, 2 warnings (default), 3 information, 4 debug; -v alone is one more, -vv two more",
     true},
    {"log-pid", 0, kFlag, "", kBoth, kBuilt, Group::common, "Begin each line of the log with the pid of its writer"},
    {"shell-job", 'j', kFlag, "", kBoth, kBuilt, Group::common,
     "The program belongs to the session and the terminal of a shell; restore gives it the current ones"},
    {"timeout", 0, kValue, "SECONDS", kBoth, kBuilt, Group::common,
     "Give up after so long: dump on the freeze (default 10, 0: never), restore on each answer of a new process (default "
     "0: ten minutes)"},
    {"file-validation", 0, kValue, "filesize|buildid|none", kBoth, kBuilt, Group::common,
     "How restore recognises that a file has changed (default: buildid, which looks at size and owner too)"},
    {"cpu-cap", 0, kMaybe, "LIST", kBoth, kBuilt, Group::common,
     "Which features of the first CPU restore demands: fpu (registers), ins (instructions; both are the default), cpu "
     "or all (every flag), none; a dump records all of them"},
    {"manage-cgroups", 0, kMaybe, "MODE", kBoth, kBuilt, Group::common,
     "Save and restore control groups. Restore: soft (default) makes missing ones and configures these, full configures "
     "all, props and none make none, strict demands that there are none yet, ignore does nothing"},
    {"action-script", 0, kValue, "FILE", kBoth, kBuilt, Group::common,
     "Run FILE at every named moment, with CRTOOLS_SCRIPT_ACTION set; a status other than 0 ends the "
     "operation (at post-resume it is only logged)", true},
    {"status-fd", 0, kValue, "FD", kBoth, kBuilt, Group::common,
     "Write one zero byte to this descriptor and close it when all went well"},
    {"display-stats", 0, kFlag, "", kBoth, kBuilt, Group::common, "Print times and amounts when done"},
    {"json", 0, kFlag, "", kAll, kBuilt, Group::common, "Print the outcome, good or bad, as one JSON object"},
    {"config", 0, kValue, "FILE", kAll, kBuilt, Group::common,
     "Read options from FILE instead of the default configuration files"},
    {"default-config", 0, kFlag, "", kAll, kBuilt, Group::common, "Do not read the default configuration files",
     false, true},
    {"version", 'V', kFlag, "", kAll, kBuilt, Group::common, "Print the version"},
    {"help", 'h', kFlag, "", kAll, kBuilt, Group::common, "Print this help"},
    // ---- dump ----
    {"tree", 't', kValue, "PID", kDump, kBuilt, Group::dump, "The process to save, and all its descendants"},
    {"leave-running", 'R', kFlag, "", kDump, kBuilt, Group::dump, "Let the process go on after the dump"},
    {"leave-stopped", 's', kFlag, "", kBoth, kBuilt, Group::dump,
     "Leave the process stopped afterwards (dump and restore)"},
    {"ghost-limit", 0, kValue, "SIZE", kDump, kBuilt, Group::dump,
     "Save the content of an open but deleted file up to this size, with K, M or G (default: any)"},
    {"file-locks", 'l', kFlag, "", kBoth, kBuilt, Group::dump,
     "Keep file locks and leases, which restore takes again; without it a program that holds one is refused"},
    {"external", 0, kValue, "RESOURCE", kBoth, kBuilt, Group::dump,
     "Leave this open file out of the image: file[MOUNT:INODE], tty[RDEV:DEV], pipe[INODE] or socket[INODE]", true},
    {"link-remap", 0, kFlag, "", kBoth, kBuilt, Group::dump,
     "Make a temporary link for an open file whose name is gone while it has others; restore removes it"},
    {"sync", 0, kFlag, "", kDump, kBuilt, Group::dump,
     "Do not wait for the disk: quicker, but a power cut soon after may cost the image", false, true},
    {"ext-unix-sk", 'x', kMaybe, "INODE", kBoth, kBuilt, Group::dump,
     "The other end of a unix socket may be outside of the tree (of this one, or of any); restore connects to it again "
     "by its name", true},
    {"tcp-established", 0, kFlag, "", kBoth, kBuilt, Group::dump,
     "Save open TCP connections, nothing is sent about it; those that are being opened, or wait to be accepted, are made "
     "anew"},
    {"network-lock", 0, kValue, "nftables|skip", kBoth, kBuilt, Group::dump,
     "How the packets of TCP connections with others are kept away while the program is down: nftables (default), or "
     "skip, when something else does it"},
    {"tcp-close", 0, kFlag, "", kBoth, kBuilt, Group::dump,
     "Open TCP connections are closed after the restore (dump: save them so; restore: whatever the image has)"},
    {"skip-in-flight", 0, kFlag, "", kBoth, kBuilt, Group::dump,
     "TCP connections that are being opened, or wait to be accepted, are lost where they cannot be saved"},
    // ---- restore ----
    {"restore-detached", 'd', kFlag, "", kRestore, kBuilt, Group::restore,
     "End once the program runs again, instead of staying in the foreground"},
    {"restore-sibling", 'S', kFlag, "", kRestore, kBuilt, Group::restore,
     "Make the program a child of the caller of mini-criu (together with -d)"},
    {"pidfile", 0, kValue, "FILE", kRestore, kBuilt, Group::restore,
     "Write the pid of the restored program to FILE, which must not exist"},
    {"inherit-fd", 0, kValue, "fd[N]:RESOURCE", kRestore, kBuilt, Group::restore,
     "Give the program this descriptor of the caller in place of an external resource, or of a file by its path", true},
    {"timers", 0, kValue, "remaining|real", kRestore, kBuilt, Group::restore,
     "Timers go on with the time that remained when the program was saved, or as if they had run on meanwhile (default: "
     "remaining)"},
    {"cgroup-root", 0, kValue, "[HIERARCHY:]PATH", kRestore, kBuilt, Group::restore,
     "The control group that takes the place of the root process's (with --manage-cgroups)", true},
    {"exec-cmd", 0, kFlag, "", kRestore, kBuilt, Group::restore,
     "Afterwards run the command behind \"--\" in place of mini-criu, as the parent of the program"},
    // ---- inspect ----
    {"feature", 0, kValue, "NAME", kCheck, kBuilt, Group::inspect,
     "Look at this feature only; \"list\" prints the names", true},
    {"expected", 0, kFlag, "", kDiff, kBuilt, Group::inspect,
     "Print the differences that have a documented reason too"},
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
     "how memory is read ahead of a dump; a dump itself reads it in one way"},
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
    {"prev-images-dir", 0, kValue, "DIR", kDump, kRefused, kLater, "images that hold only what has changed"},
    {"track-mem", 0, kFlag, "", kDump, kRefused, kLater, "images that hold only what has changed"},
    {"auto-dedup", 0, kFlag, "", kBoth, kRefused, kLater, "removing pages that a later image holds"},
    {"page-server", 0, kFlag, "", kDump, kRefused, kLater, "pages sent over a network"},
    {"address", 0, kValue, "ADDRESS", kBoth, kRefused, kLater, "pages sent over a network"},
    {"port", 0, kValue, "PORT", kBoth, kRefused, kLater, "pages sent over a network"},
    {"ps-socket", 0, kValue, "FD", kBoth, kRefused, kLater, "pages sent over a network"},
    {"lazy-pages", 0, kFlag, "", kBoth, kRefused, kLater, "pages brought in after the restore"},
    {"stream", 0, kFlag, "", kBoth, kRefused, kLater, "images as one stream"},
    {"skip-file-rwx-check", 0, kFlag, "", kRestore, kRefused, kLater, "files whose permissions have changed"},
    {"allow-uprobes", 0, kFlag, "", kDump, kRefused, kLater, "programs with uprobes"},
    {"weak-sysctls", 0, kFlag, "", kRestore, kRefused, kLater, "settings of network namespaces"},
    {"evasive-devices", 0, kFlag, "", kDump, kRefused, kLater, "device files that cannot be opened by their path"},
    {"tls", 0, kFlag, "", kBoth, kRefused, kLater, "pages sent over a network"},
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

const Option* find_option(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, name, &Option::name);
  return found == std::end(kOptions) ? nullptr : found;
}

const Option* find_option(char letter) {
  if (letter == 0) return nullptr;
  const auto* found = std::ranges::find(kOptions, letter, &Option::letter);
  return found == std::end(kOptions) ? nullptr : found;
}

const Option& option(std::string_view name) {
  const Option* found = find_option(name);
  if (!found) throw Error(Fault::internal, fmt::format("no option is called {}", name));
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
      return "Options of check and diff";
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
  return fmt::format("--{}{}", option.starts_on ? "no-" : "", option.name);
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
