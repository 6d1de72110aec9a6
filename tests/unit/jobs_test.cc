// Names of jobs, which checkpoints are kept, files of messages, the folder of jobs, copies of files.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/jobs/checkpoints.h"
#include "core/jobs/job_file.h"
#include "core/jobs/job_folder.h"
#include "core/jobs/job_id.h"
#include "core/jobs/output_log.h"
#include "core/jobs/program.h"
#include "core/sys/child.h"
#include "core/sys/file.h"
#include "core/sys/file_copy.h"
#include "core/sys/hold.h"
#include "core/sys/process.h"

namespace mcr::jobs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() / "mcr-jobs-XXXXXX") {
    if (!::mkdtemp(path_.data())) std::abort();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void write(const std::string& path, const std::string& text) {
  std::ofstream(path) << text;
}

job::Config config_of(const std::string& id) {
  job::Config config;
  config.set_id(id);
  config.add_command("true");
  return config;
}

TEST(JobId, IsAPlainNameOfAFolder) {
  for (const char* good : {"a", "train-1", "A.b_c-9", "0"}) EXPECT_TRUE(is_job_id(good)) << good;
  for (const std::string bad : {"", ".", "..", ".a", "-a", "a/b", "a b", "a\n", "\xc3\xa4"})
    EXPECT_FALSE(is_job_id(bad)) << bad;
  EXPECT_TRUE(is_job_id(std::string(64, 'a')));
  EXPECT_FALSE(is_job_id(std::string(65, 'a')));
}

TEST(JobId, IsProposedAfterWhatRuns) {
  EXPECT_EQ(propose_id({"/usr/bin/simulate", "x"}, {}), "simulate-1");
  EXPECT_EQ(propose_id({"python3", "-u", "dir/train.py", "1"}, {"train-1", "train-2"}), "train-3");
  EXPECT_EQ(propose_id({"python3.11", "-c", "print()"}, {}), "python3.11-1");
  EXPECT_EQ(propose_id({"shuffle", "cards.txt"}, {}), "shuffle-1");
  EXPECT_EQ(propose_id({"/bin/[ "}, {}), "job-1");
  EXPECT_TRUE(is_job_id(propose_id({std::string(300, 'x')}, {})));
}

TEST(Retention, GivesUpTheOldestAndNeverTheLast) {
  EXPECT_THAT(superfluous({1, 2, 3}, 0), IsEmpty());
  EXPECT_THAT(superfluous({3, 1, 2}, 1), ElementsAre(1, 2));
  EXPECT_THAT(superfluous({7}, 1), IsEmpty());
  EXPECT_THAT(superfluous({9, 10, 11, 12}, 3), ElementsAre(9));
  EXPECT_THAT(superfluous({}, 1), IsEmpty());
}

TEST(JobFile, IsReplacedWholeAndReadBack) {
  const Folder folder;
  job::State state;
  state.set_status(job::State::RUNNING);
  state.set_start_time(UINT64_MAX);
  state.set_last_error("a \"quoted\"\nline");
  write_message(folder / "state.json", state);
  write(folder / "state.json.new", "half of a mess");  // of a writer that was killed
  job::State found;
  read_message(folder / "state.json", found);
  EXPECT_EQ(found.SerializeAsString(), state.SerializeAsString());
  EXPECT_FALSE(try_read_message(folder / "none.json", found));
}

TEST(JobFile, ThatIsDamagedIsNamed) {
  const Folder folder;
  for (const std::string text : {"", "{", "{\"status\": \"RUNNING\"", "[]", "{\"pid\": \"x\"}", "\xff\xfe"}) {
    write(folder / "state.json", text);
    job::State state;
    try {
      read_message(folder / "state.json", state);
      ADD_FAILURE() << "read: " << text;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("state.json is damaged")) << text;
    }
  }
  write(folder / "state.json", "{\"pid\": 5, \"ofANewerVersion\": {\"a\": 1}}");
  job::State state;
  read_message(folder / "state.json", state);
  EXPECT_EQ(state.pid(), 5);
}

TEST(JobsFolder, MakesAJobOnceAndClearsWhatIsLeft) {
  const Folder folder;
  const JobsFolder jobs(folder / "a/b/jobs");
  std::filesystem::create_directories(folder / "a/b/jobs/.new-x/checkpoints");
  std::filesystem::create_directories(folder / "a/b/jobs/.rm-y");
  job::Config config = config_of("x");
  auto [job, lock] = jobs.create(config);
  EXPECT_FALSE(job.supervise());  // nobody takes it for one that has lost its supervisor
  EXPECT_EQ(job.config().token().size(), 32U);
  EXPECT_EQ(job.state().status(), job::State::STARTING);
  EXPECT_THROW(jobs.create(config), Error);
  EXPECT_THAT(jobs.ids(), ElementsAre("x"));
  EXPECT_FALSE(std::filesystem::exists(folder / "a/b/jobs/.rm-y"));
  job::Config unnamed;
  unnamed.add_command("python3"), unnamed.add_command("x.py");
  EXPECT_EQ(jobs.create(unnamed).job.id(), "x-1");
  job::Config odd = config_of("odd");
  odd.add_command("\xff");
  EXPECT_THROW(jobs.create(odd), Error);
  job::Config odd_folder = config_of("odd");
  odd_folder.set_folder("/a\xff");
  EXPECT_THROW(jobs.create(odd_folder), Error);
  EXPECT_FALSE(jobs.find("../jobs/x"));
  jobs.remove(job, std::move(lock));
  EXPECT_THAT(jobs.ids(), ElementsAre("x-1"));
}

TEST(Hold, IsSeenByOthersAndEndsWithItsLastHolder) {
  const Folder folder;
  const std::string path = folder / "lock";
  UniqueFd mine = sys::open(path, O_RDWR | O_CREAT, 0600);
  const UniqueFd other = sys::open(path, O_RDWR);
  EXPECT_TRUE(sys::try_hold(mine.get()));
  EXPECT_TRUE(sys::is_held(other.get()));
  EXPECT_FALSE(sys::try_hold(other.get()));
  EXPECT_FALSE(sys::is_held(mine.get()));
  const sys::Pipe gate = sys::make_pipe(O_CLOEXEC);
  const int kept[] = {mine.get(), gate.read_end.get()};
  const HostPid child = sys::start_child(kept, [&] {
    char byte;
    return static_cast<int>(sys::read_some(kept[1], &byte, 1));
  });
  mine.reset();
  EXPECT_TRUE(sys::is_held(other.get()));  // by the child
  sys::write_text(gate.write_end.get(), "x");
  const UniqueFd pidfd = sys::open_pidfd(child);
  EXPECT_TRUE(sys::wait_readable(pidfd.get(), 10'000));
  EXPECT_EQ(sys::collect_ended(child)->number, 1);
  EXPECT_FALSE(sys::is_held(other.get()));
}

TEST(Program, IsKnownByMoreThanItsPid) {
  job::State state;
  note_program(state, sys::own_pid());
  EXPECT_TRUE(open_program(state));
  state.set_start_time(state.start_time() + 1);
  EXPECT_FALSE(open_program(state));
  note_program(state, sys::own_pid());
  state.set_boot_id("another boot");
  EXPECT_FALSE(open_program(state));
  EXPECT_FALSE(open_program(job::State()));
}

TEST(OutputLog, GoesBackAndComesBackUnlessKept) {
  const Folder folder;
  const JobFolder job(folder / "");
  write(job.output(), "one\ntwo\nthree\n");
  {
    const OutputTakenBack taken(job, {}, 1, 4);
    EXPECT_EQ(sys::read_text(job.output()), "one\n");
  }
  EXPECT_EQ(sys::read_text(job.output()), "one\ntwo\nthree\n");
  EXPECT_EQ(sys::read_text(job.file("discarded.log")), "");
  OutputTakenBack(job, {}, 1, 4).keep();
  EXPECT_EQ(sys::read_text(job.output()), "one\n");
  EXPECT_EQ(sys::read_text(job.file("discarded.log")), "--- 10 bytes printed after checkpoint 1\ntwo\nthree\n");
  {
    const OutputTakenBack taken(job, {}, 2, 6);
    EXPECT_EQ(std::filesystem::file_size(job.output()), 6U);
  }
  EXPECT_EQ(sys::read_text(job.output()), "one\n");
}

TEST(FileCopy, HasContentSizeAndHoles) {
  const Folder folder;
  const UniqueFd from = sys::open(folder / "from", O_RDWR | O_CREAT, 0600);
  const UniqueFd to = sys::open(folder / "to", O_RDWR | O_CREAT, 0600);
  sys::pwrite_fully(to.get(), "longer than what comes", 22, 0);
  sys::pwrite_fully(from.get(), "begin", 5, 0);
  sys::copy_content(from.get(), to.get());
  EXPECT_EQ(sys::read_text(folder / "to"), "begin");
  constexpr uint64_t kFar = 64 << 20;
  sys::pwrite_fully(from.get(), "end", 3, kFar);
  sys::copy_content(from.get(), to.get());
  EXPECT_EQ(sys::read_text(folder / "from"), sys::read_text(folder / "to"));
  EXPECT_LT(static_cast<uint64_t>(sys::stat_fd(to.get()).st_blocks) * 512, kFar / 2);
}

TEST(Signals, HaveNames) {
  EXPECT_EQ(sys::signal_by_name("USR1"), 10);
  EXPECT_EQ(sys::signal_by_name("SIGTERM"), 15);
  EXPECT_EQ(sys::signal_by_name("2"), 2);
  for (const char* bad : {"", "KILL", "9", "STOP", "USR", "0", "-1", "99", "1x"})
    EXPECT_FALSE(sys::signal_by_name(bad)) << bad;
  EXPECT_EQ(sys::signal_name(10), "USR1");
}

}  // namespace
}  // namespace mcr::jobs
