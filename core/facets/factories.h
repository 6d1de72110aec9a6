// One factory a facet; only registry.cc needs them.
#pragma once

#include "core/facets/facet.h"

namespace mcr::facets {

std::unique_ptr<ProcessFacet> make_signal_actions();
std::unique_ptr<ProcessFacet> make_process_control();
std::unique_ptr<ProcessFacet> make_shared_signals();
std::unique_ptr<ProcessFacet> make_interval_timers();
std::unique_ptr<ProcessFacet> make_posix_timers();
std::unique_ptr<ProcessFacet> make_resource_limits();

std::unique_ptr<ThreadFacet> make_signal_state();
std::unique_ptr<ThreadFacet> make_thread_pointers();
std::unique_ptr<ThreadFacet> make_thread_signals();
std::unique_ptr<ThreadFacet> make_scheduling();
std::unique_ptr<ThreadFacet> make_credentials();
std::unique_ptr<ThreadFacet> make_thread_control();
std::unique_ptr<ThreadFacet> make_memory_policy();

}  // namespace mcr::facets
