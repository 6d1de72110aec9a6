#include "core/facets/extended_state.h"

#include "core/base/error.h"

namespace mcr::facets {

image::ExtendedState extended_message(const arch::ExtendedState& state) {
  image::ExtendedState message;
  message.set_legacy(state.legacy);
  message.set_in_use(state.in_use);
  for (const auto& [id, content] : state.components) {
    auto* component = message.add_components();
    component->set_id(id);
    component->set_content(content);
  }
  return message;
}

arch::ExtendedState extended_state(const image::ThreadCore& thread, const image::CpuState& cpu) {
  if (!thread.has_extended()) {
    const arch::XstateLayout& layout = arch::host_layout();
    if (cpu.xcr0() != arch::host_xcr0() || thread.xstate().size() != layout.bytes)
      throw Error(Fault::image, "has extended registers of another kind of CPU, saved by an early version");
    return arch::split_xstate(std::as_bytes(std::span(thread.xstate())), layout);
  }
  arch::ExtendedState state;
  state.legacy = thread.extended().legacy();
  state.in_use = thread.extended().in_use();
  for (const auto& component : thread.extended().components()) {
    if (component.id() < 2 || component.id() > 62 ||
        !state.components.try_emplace(component.id(), component.content()).second)
      throw Error(Fault::image, fmt::format("has extended registers {} that cannot be", component.id()));
  }
  return state;
}

}  // namespace mcr::facets
