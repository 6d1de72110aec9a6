// Names of open files that stay outside of an image.
#include "core/kinds/external.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/sys/file.h"

namespace mcr::kinds {

TEST(ExternalResource, OneSpelling) {
  EXPECT_EQ(canonical_resource("pipe:[5]"), "pipe[5]");
  EXPECT_EQ(canonical_resource("pipe[5]"), "pipe[5]");
  EXPECT_EQ(canonical_resource("socket:[17]"), "socket[17]");
  EXPECT_EQ(canonical_resource("unix[17]"), "socket[17]");
  EXPECT_EQ(canonical_resource("file[1B:07]"), "file[1b:7]");
  EXPECT_EQ(canonical_resource("tty[8803:18]"), "tty[8803:18]");
}

TEST(ExternalResource, WhatIsNone) {
  for (const char* text :
       {"", "pipe", "pipe[", "pipe[]", "pipe[x]", "pipe[5", "pipe[5]x", "pipe[-5]", "file[5]", "file[5:]", "file[:5]",
        "file[5:g]", "mnt[/a]:b", "net[5]:eth0", "/var/log/file", "pipe[99999999999999999999]"})
    EXPECT_EQ(canonical_resource(text), std::nullopt) << text;
}

TEST(ExternalResource, NamesOfOpenFiles) {
  FileView file;
  file.fd = 3, file.link = "pipe:[77]";
  file.status.st_mode = S_IFIFO | 0600, file.status.st_ino = 77;
  EXPECT_EQ(resource_of(file), "pipe[77]");
  EXPECT_NE(external_remedy(file).find("--external 'pipe[77]'"), std::string::npos);
  file.link = "/tmp/a", file.status.st_mode = S_IFREG | 0600, file.info.mount_id = 31;
  EXPECT_EQ(resource_of(file), "file[1f:4d]");
  file.fd = -1;  // a mapping
  EXPECT_EQ(resource_of(file), "");
  EXPECT_EQ(external_remedy(file), "");
}

TEST(InheritedFiles, TheOneThatIsOpenForTheSame) {
  sys::Pipe pipe = sys::make_pipe(O_CLOEXEC);
  const int reader = pipe.read_end.release(), writer = pipe.write_end.release();
  InheritedFiles inherited(std::multimap<std::string, int>{{"pipe[5]", writer}, {"pipe[5]", reader}});
  image::FileObject object;
  image::ExternalFile body;
  body.set_resource("pipe[5]");
  object.mutable_body()->PackFrom(body);
  object.set_flags(O_RDONLY);
  EXPECT_EQ(inherited.find(object), reader);
  object.set_flags(O_WRONLY);
  EXPECT_EQ(inherited.find(object), writer);
  std::vector<Problem> problems;
  inherited.check({{1, object}}, problems);
  EXPECT_TRUE(problems.empty());
  object.set_flags(O_RDWR);
  inherited.check({{1, object}}, problems);
  EXPECT_EQ(problems.size(), 1U);
  inherited.check({}, problems);
  EXPECT_EQ(problems.size(), 3U);  // both have no file now
  inherited.close_all();
  EXPECT_FALSE(sys::is_open(reader) || sys::is_open(writer));
}

}  // namespace mcr::kinds
