#include "bench/suite/statistics.h"

#include <algorithm>
#include <cmath>

namespace bench {
namespace {

// Between the two values that the place lies between.
double quantile(const std::vector<double>& sorted, double share) {
  const double place = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - static_cast<double>(below));
}

}  // namespace

Summary summarize(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {quantile(values, 0.5), quantile(values, 0.25), quantile(values, 0.75),
          values.front(),        values.back(),          static_cast<int>(values.size())};
}

std::optional<double> fitted_exponent(const std::vector<std::pair<double, double>>& points) {
  double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;
  for (const auto& [x, y] : points) {
    if (x <= 0 || y <= 0) return std::nullopt;
    const double log_x = std::log(x), log_y = std::log(y);
    n += 1, sum_x += log_x, sum_y += log_y, sum_xx += log_x * log_x, sum_xy += log_x * log_y;
  }
  const double spread = n * sum_xx - sum_x * sum_x;
  if (n < 3 || spread < 1e-9) return std::nullopt;
  return (n * sum_xy - sum_x * sum_y) / spread;
}

}  // namespace bench
