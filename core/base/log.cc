#include "core/base/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <mutex>

namespace mcr::log {
namespace {

// spdlog keeps its own registry; this holds what the engine decides about it. Written once by start().
struct State {
  std::shared_ptr<spdlog::logger> logger;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  Level level = Level::warning;
  bool keeps_ring = false;
  int descriptor = 2;
};

State& state() {
  static State instance;
  return instance;
}

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::message:
      return spdlog::level::critical;
    case Level::error:
      return spdlog::level::err;
    case Level::warning:
      return spdlog::level::warn;
    case Level::info:
      return spdlog::level::info;
    case Level::debug:
      return spdlog::level::debug;
  }
  return spdlog::level::debug;
}

// Whoever opened the file has decided about links and permissions; spdlog's own sink opens by name.
class DescriptorSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit DescriptorSink(int descriptor) : stream_(::fdopen(descriptor, "w")) {}
  ~DescriptorSink() override {
    if (stream_) std::fclose(stream_);
  }
  DescriptorSink(const DescriptorSink&) = delete;
  DescriptorSink& operator=(const DescriptorSink&) = delete;

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t text;
    formatter_->format(message, text);
    if (stream_) std::fwrite(text.data(), 1, text.size(), stream_);
  }
  void flush_() override {
    if (stream_) std::fflush(stream_);
  }

 private:
  std::FILE* stream_;
};

}  // namespace

void start(const Settings& settings) {
  State& s = state();
  spdlog::sink_ptr sink;
  if (settings.file.empty())
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  else
    sink = std::make_shared<DescriptorSink>(settings.descriptor);
  s.logger = std::make_shared<spdlog::logger>("mini-criu", std::move(sink));
  s.logger->set_pattern(settings.show_pid ? "%P: %v" : "%v");
  s.logger->set_level(spdlog_level(settings.level));
  s.logger->flush_on(spdlog::level::err);
  s.level = settings.level;
  s.descriptor = settings.file.empty() ? 2 : settings.descriptor;
  s.keeps_ring = settings.ring_lines > 0 && settings.level != Level::debug;
  if (s.keeps_ring) s.logger->enable_backtrace(settings.ring_lines);
}

void flush() {
  if (state().logger) state().logger->flush();
}

int descriptor() {
  return state().descriptor;
}

bool enabled(Level level) {
  return state().logger && (level <= state().level || state().keeps_ring);
}

void write(Level level, std::string_view module, std::string_view text) {
  State& s = state();
  if (!s.logger) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - s.started).count();
  s.logger->log(spdlog_level(level), "({:09.6f}) {}: {}", seconds, module, text);
}

void dump_ring() {
  State& s = state();
  if (!s.logger || !s.keeps_ring) return;
  s.logger->dump_backtrace();
  s.logger->flush();
}

}  // namespace mcr::log
