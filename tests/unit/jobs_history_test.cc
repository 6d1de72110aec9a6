// What a job has behind it: lines of checkpoints and their logs; text of any bytes; commands and keys of users.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/base/error.h"
#include "core/jobs/line.h"
#include "core/jobs/output_log.h"
#include "core/jobs/push.h"
#include "core/jobs/text.h"
#include "tools/attach.h"

namespace mcr::jobs {
namespace {

using testing::ElementsAre;

job::Line line_of(std::initializer_list<uint32_t> numbers) {
  job::Line line;
  for (const uint32_t number : numbers) append(line, number);
  return line;
}

void take(job::TakenBack& taken, const job::Line& line, uint64_t from, uint64_t bytes, uint64_t at) {
  auto& piece = *taken.add_pieces();
  *piece.mutable_line() = line;
  piece.set_from(from), piece.set_bytes(bytes), piece.set_at(at);
}

std::vector<StoredCheckpoint> stored(std::initializer_list<uint32_t> numbers) {
  std::vector<StoredCheckpoint> all;
  for (const uint32_t number : numbers) all.push_back({number, {}, 0, 0});
  return all;
}

TEST(Line, LeavesNewerOnesOfAnotherLineAlone) {
  job::State state;
  EXPECT_EQ(last_of_line(state, stored({1, 5})), 5U);  // of an older version
  *state.mutable_line() = line_of({1, 2});
  EXPECT_EQ(last_of_line(state, stored({1, 2, 3, 4})), 2U);
  EXPECT_EQ(last_of_line(state, stored({1, 2, 3, 4}), 2), 1U);
  EXPECT_EQ(last_of_line(state, stored({3, 4})), std::nullopt);
  EXPECT_EQ(default_checkpoint(state, stored({3, 4})), 4U);
  EXPECT_EQ(default_checkpoint(state, {}), std::nullopt);
}

TEST(Line, GoesOnFromTheCheckpointThatIsTaken) {
  job::State state;
  *state.mutable_line() = line_of({1, 2, 3});
  EXPECT_THAT(line_from(state, std::nullopt, 2).numbers(), ElementsAre(1, 2));
  job::Checkpoint other;
  *other.mutable_line() = line_of({1, 4, 5});
  EXPECT_THAT(line_from(state, other, 6).numbers(), ElementsAre(1, 4, 5, 6));
  job::Line line;
  for (uint32_t number = 1; number <= 100; ++number) append(line, number);
  EXPECT_EQ(line.numbers_size(), 64);
  EXPECT_TRUE(has(line, 100) && has(line, 37) && !has(line, 36));
}

TEST(Log, IsPutTogetherFromWhatWasTakenOutOfIt) {
  job::TakenBack taken;
  EXPECT_THAT(log_at_checkpoint(line_of({1, 2}), 50, taken, 2, 40), ElementsAre(LogStretch{false, 0, 40}));
  // From 3 back to 1 (10 bytes): 30 bytes of the line 1, 2, 3 are out of it; and from 4, on that line, back to 1.
  take(taken, line_of({1, 2, 3}), 10, 30, 100);
  EXPECT_THAT(log_at_checkpoint(line_of({1, 4}), 25, taken, 3, 35),
              ElementsAre(LogStretch{false, 0, 10}, LogStretch{true, 100, 25}));
  EXPECT_THAT(log_at_checkpoint(line_of({1, 4}), 25, taken, 1, 10), ElementsAre(LogStretch{false, 0, 10}));
  take(taken, line_of({1, 4}), 5, 20, 200);
  EXPECT_THAT(log_at_checkpoint(line_of({5}), 6, taken, 4, 22),
              ElementsAre(LogStretch{false, 0, 5}, LogStretch{true, 200, 17}));
  // What stood before the first piece was taken is the log as it was before the second.
  EXPECT_THAT(log_at_checkpoint(line_of({5}), 6, taken, 3, 35),
              ElementsAre(LogStretch{false, 0, 5}, LogStretch{true, 200, 5}, LogStretch{true, 100, 25}));
  // Too short for its own line: a resume was killed. Of nothing that is known: as it is.
  EXPECT_THAT(log_at_checkpoint(line_of({1, 4}), 5, taken, 4, 22),
              ElementsAre(LogStretch{false, 0, 5}, LogStretch{true, 200, 17}));
  EXPECT_THAT(log_at_checkpoint(line_of({5}), 6, taken, 9, 22), ElementsAre(LogStretch{false, 0, 6}));
}

TEST(Text, OfAnyBytesBecomesUtf8) {
  for (const std::string good : {"", "plain", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "line\nline"})
    EXPECT_TRUE(is_utf8(good) && as_utf8(good) == good) << good;
  for (const std::string bad :
       {"\xff", "a\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80"}) {
    EXPECT_FALSE(is_utf8(bad));
    EXPECT_TRUE(is_utf8(as_utf8(bad)));
  }
  EXPECT_EQ(as_utf8("a\xff\xc3\xa4\xc3"), "a\\xff\xc3\xa4\\xc3");
  EXPECT_EQ(for_shell("it's $x"), "'it'\\''s $x'");
}

TEST(Push, PutsTheFolderWhereItIsNamed) {
  job::Config config;
  for (const char* word : {"rsync", "-a", "{}", "host:{}"}) config.add_push(word);
  EXPECT_THAT(push_command(config, "/j/001"), ElementsAre("rsync", "-a", "/j/001", "host:/j/001"));
  config.clear_push();
  config.add_push("store");
  EXPECT_THAT(push_command(config, "/j/{}"), ElementsAre("store", "/j/{}"));
}

TEST(Keys, LeaveAndOthersPass) {
  using cli::KeyWatch;
  EXPECT_EQ(cli::parse_keys("detach-keys", "ctrl-p,ctrl-q"), "\x10\x11");
  EXPECT_EQ(cli::parse_keys("detach-keys", "ctrl-],x"), "\x1dx");
  for (const char* bad : {"", "ctrl-", "ctrl-pp", "strg-x", "ctrl-1"})
    EXPECT_THROW(cli::parse_keys("detach-keys", bad), Error) << bad;
  KeyWatch watch("\x10\x11");
  EXPECT_EQ(watch.pass("ab\x10"), "ab");
  EXPECT_EQ(watch.pass("c"),
            "\x10"
            "c");
  EXPECT_EQ(watch.pass("\x10\x10"), "\x10");
  EXPECT_FALSE(watch.has_left());
  EXPECT_EQ(watch.pass("\x11rest"), "");
  EXPECT_TRUE(watch.has_left());
}

}  // namespace
}  // namespace mcr::jobs
