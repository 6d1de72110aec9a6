// What waits in a pseudo-terminal. There is no way to look at it: it is taken out and put back, so who does that for a
// living program must be a process that our death does not end (sys::run_apart).
//
// n_tty holds 4095 bytes for a reader; what is written beyond that waits elsewhere, in pieces whose room depends on how
// they were written, and may not fit when it is written again. Such a terminal is refused, before anything is touched.
#pragma once

#include <string>
#include <vector>

#include "core/sys/terminal.h"

namespace mcr::kinds {

struct PtyQueues {
  std::string output;              // for the master
  std::vector<std::string> lines;  // canonical: what each read(2) of the slave gives; empty: an end of file
  std::string input;               // canonical: the line that is not complete; else all
};

bool is_canonical(const sys::Termios& termios);  // the slave's input comes in lines

// Throws Fault::refused when what waits cannot be read and put back whole. Touches nothing. slave: -1 when it is
// closed.
void require_readable(int master, int slave, const sys::Termios& termios);
// Nothing else may use the terminal meanwhile. Where nothing waits nothing is touched, except that a canonical slave is
// switched to bytes and back, as it tells of an incomplete line only so.
PtyQueues read_queues(int master, int slave);
// Into a terminal that nobody has used: settings, then what waits.
void fill_queues(int master, int slave, const sys::Termios& termios, const PtyQueues& queues);

}  // namespace mcr::kinds
