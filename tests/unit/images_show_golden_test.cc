// The whole text of one shown file, so that a change of how it looks is seen.
#include <sys/user.h>

#include "images/show.h"
#include "tests/unit/images_sample.h"

namespace mcr::images {
namespace {

constexpr char kGolden[] = R"json([
 {
  "type": "mcr.image.ProcessCore",
  "message": {
   "pid": 12,
   "ppid": 1,
   "pgid": 12,
   "sid": 7,
   "command": "caf\\xe9",
   "stopped": true,
   "stop_signal": 19,
   "thread_count": 1,
   "personality": 0,
   "zombie": false,
   "exit_status": 0,
   "stop_collected": false,
   "facets": [
    {
     "type": "mcr.image.SignalActions",
     "message": {
      "actions": [
       {
        "signal": 15,
        "handler": "0x7f1234567890",
        "flags": "0x4000000",
        "restorer": "0x0",
        "mask": "0x8000000000000000"
       }
      ]
     }
    }
   ]
  }
 },
 {
  "type": "mcr.image.ThreadCore",
  "message": {
   "tid": 12,
   "name": "worker 1",
   "registers": {
    "r15": "0x15",
    "r14": "0x14",
    "r13": "0x13",
    "r12": "0x12",
    "rbp": "0x7ffc00000010",
    "rbx": "0xb",
    "r11": "0x11",
    "r10": "0x10",
    "r9": "0x9",
    "r8": "0x8",
    "rax": "0xa",
    "rcx": "0xc",
    "rdx": "0xd",
    "rsi": "0x51",
    "rdi": "0xd1",
    "orig_rax": "0xffffffffffffffff",
    "rip": "0x401000",
    "cs": "0x33",
    "eflags": "0x246",
    "rsp": "0x7ffc00000000",
    "ss": "0x2b",
    "fs_base": "0x7f0000000740",
    "gs_base": "0x6b",
    "ds": "0xd5",
    "es": "0xe5",
    "fs": "0xf5",
    "gs": "0x65"
   },
   "xstate": {
    "bytes": 832,
    "hex": "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f…"
   },
   "restart": {
    "present": true,
    "number": "35",
    "remaining_ns": "9007199254740993"
   },
   "facets": [
    {
     "type": "mcr.image.ThreadPointers",
     "message": {
      "clear_child_tid": "0x7f0000000a10",
      "robust_list": "0x7f0000000a20",
      "robust_list_length": "24",
      "rseq_address": "0x0",
      "rseq_size": 0,
      "rseq_signature": 0,
      "rseq_flags": 0
     }
    }
   ]
  }
 }
]
)json";

image::ProcessCore process() {
  image::ProcessCore core;
  core.set_pid(12);
  core.set_ppid(1);
  core.set_pgid(12);
  core.set_sid(7);
  core.set_command("caf\xe9");
  core.set_stopped(true);
  core.set_stop_signal(19);
  core.set_thread_count(1);
  image::SignalActions actions;
  image::SignalAction& action = *actions.add_actions();
  action.set_signal(15);
  action.set_handler(0x7f1234567890);
  action.set_flags(0x4000000);
  action.set_mask(1ull << 63);
  core.add_facets()->PackFrom(actions);
  return core;
}

std::string registers() {
  user_regs_struct regs{};
  regs.r8 = 0x8, regs.r9 = 0x9, regs.r10 = 0x10, regs.r11 = 0x11;
  regs.r12 = 0x12, regs.r13 = 0x13, regs.r14 = 0x14, regs.r15 = 0x15;
  regs.rax = 0xa, regs.rbx = 0xb, regs.rcx = 0xc, regs.rdx = 0xd, regs.rsi = 0x51, regs.rdi = 0xd1;
  regs.orig_rax = ~0ull, regs.rip = 0x401000, regs.eflags = 0x246;
  regs.rbp = 0x7ffc00000010, regs.rsp = 0x7ffc00000000, regs.fs_base = 0x7f0000000740, regs.gs_base = 0x6b;
  regs.cs = 0x33, regs.ss = 0x2b, regs.ds = 0xd5, regs.es = 0xe5, regs.fs = 0xf5, regs.gs = 0x65;
  return {reinterpret_cast<const char*>(&regs), sizeof regs};
}

image::ThreadCore thread() {
  image::ThreadCore core;
  core.set_tid(12);
  core.set_name("worker 1");
  core.set_registers(registers());
  core.set_xstate(std::string(832, '\x7f'));
  core.mutable_restart()->set_present(true);
  core.mutable_restart()->set_number(35);
  core.mutable_restart()->set_remaining_ns((1ull << 53) + 1);
  image::ThreadPointers pointers;
  pointers.set_clear_child_tid(0x7f0000000a10);
  pointers.set_robust_list(0x7f0000000a20);
  pointers.set_robust_list_length(24);
  core.add_facets()->PackFrom(pointers);
  return core;
}

TEST(ImageShow, GoldenCoreFile) {
  const sample::Folder folder;
  {
    ImageWriter writer(folder.path("image"), false);
    RecordWriter records = writer.records("core-12.img");
    records.append(process());
    records.append(thread());
    records.finish();
    writer.add(records);
    writer.commit(sample::inventory_of(12, "host"));
  }
  EXPECT_EQ(show_file_json(folder.path("image/core-12.img")), kGolden);
}

}  // namespace
}  // namespace mcr::images
