// What follows the commit point: DIR/.commit holds a whole image, whose files move into DIR one by one. At every
// moment a reader that looks into .commit first and into DIR second sees the image whole. Private to images.
#pragma once

#include <set>
#include <string>

namespace mcr::images {

struct PendingFiles {
  std::set<std::string> listed;   // the files of the new image
  std::set<std::string> present;  // those of them that still lie in .commit, and its inventory
};

// Moves the image in `commit` (the open DIR/.commit) into `dir` and removes the image that was there. The caller
// holds the lock of `commit`.
void roll_forward(int dir, int commit, const PendingFiles& files, bool sync);

// Rolls forward a commit that its writer did not finish. False while that writer is alive and at it.
bool finish_pending_commit(int dir, bool sync);

}  // namespace mcr::images
