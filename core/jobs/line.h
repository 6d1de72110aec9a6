// The line of checkpoints that a program has behind it. resume --from N leaves the newer ones to a line of their own,
// which is none of the program's past any more. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/jobs/checkpoints.h"

namespace mcr::jobs {

bool has(const job::Line& line, uint32_t number);
void append(job::Line& line, uint32_t number);  // forgets the oldest beyond 64
// The newest that is whole, of the program's own line and below `before`; nullopt: there is none. A state of an older
// version knows no line: then of all.
std::optional<uint32_t> last_of_line(const job::State& state, const std::vector<StoredCheckpoint>& stored,
                                     uint32_t before = UINT32_MAX);
// What `resume` goes on from when no number is given: of the line, or else the newest of all.
std::optional<uint32_t> default_checkpoint(const job::State& state, const std::vector<StoredCheckpoint>& stored);
// A checkpoint that was committed, and that its supervisor did not live to hear of: it is of the line.
void take_up_unheard(job::State& state, const std::vector<StoredCheckpoint>& stored);
// Whether a checkpoint was to end the program and is whole.
bool was_stopped_by_checkpoint(const job::State& state, const std::vector<StoredCheckpoint>& stored);
// The line of a program that goes on from this checkpoint.
job::Line line_from(const job::State& state, const std::optional<job::Checkpoint>& details, uint32_t number);

}  // namespace mcr::jobs
