// Seccomp filters at the dump: what they are, and which threads they allow to be asked.
//
// While we trace a thread its filters are out of force (PTRACE_O_SUSPEND_SECCOMP). Should we be killed, they are in
// force again at once, with the thread somewhere on its way back to the program: so it is only sent where its filters
// let it find back.
#pragma once

#include "core/trace/frozen_tree.h"
#include "core/trace/seccomp_filter.h"
#include "images/proto/core.pb.h"

namespace mcr::engine {

// Of every thread of the frozen process, which are suspended then. Refuses filters that somebody listens to.
std::vector<trace::SeccompChain> seccomp_chains(trace::FrozenProcess& process);
// The number of a thread that may host the parasite: the first whose filters allow its way back. Refuses when there is
// none, or when a thread's filters would harm it for being asked about itself.
size_t safe_host(const trace::FrozenProcess& process, const std::vector<trace::SeccompChain>& chains);
// Throws Fault::refused when the filters would harm the thread for this call. Failing is no harm.
void refuse_harmful_call(HostTid tid, const trace::SeccompChain& chain, const char* name, long number,
                         const std::array<uint64_t, 6>& args);

// Whether a copy of the memory may be made by a thread with these filters (inject::MemoryCopy).
bool allow_copy(const trace::SeccompChain& chain);

google::protobuf::RepeatedPtrField<mcr::image::SeccompFilter> filters_message(const trace::SeccompChain& chain);

}  // namespace mcr::engine
