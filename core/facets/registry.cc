#include "core/facets/facet.h"
#include "core/facets/factories.h"

namespace mcr::facets {

// In the order of restore.
std::vector<std::unique_ptr<ProcessFacet>> process_facets() {
  std::vector<std::unique_ptr<ProcessFacet>> all;
  all.push_back(make_signal_actions());
  all.push_back(make_process_control());
  all.push_back(make_shared_signals());
  all.push_back(make_interval_timers());
  all.push_back(make_posix_timers());
  all.push_back(make_resource_limits());
  return all;
}

std::vector<std::unique_ptr<ThreadFacet>> thread_facets() {
  std::vector<std::unique_ptr<ThreadFacet>> all;
  all.push_back(make_signal_state());
  all.push_back(make_thread_pointers());
  all.push_back(make_thread_signals());
  all.push_back(make_scheduling());
  all.push_back(make_credentials());
  all.push_back(make_thread_control());
  all.push_back(make_memory_policy());
  return all;
}

}  // namespace mcr::facets
