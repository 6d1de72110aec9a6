// Medians, quartiles and growth.
#pragma once

#include <optional>
#include <utility>
#include <vector>

namespace bench {

struct Summary {
  double median = 0, low = 0, high = 0;  // low and high: a quarter lies below the one and above the other
  double least = 0, most = 0;
  int count = 0;
};

// Of at least one value.
Summary summarize(std::vector<double> values);

// The b of y = a * x^b that fits best (least squares of the logarithms), of at least three points with different x > 0
// and y > 0; otherwise nothing.
std::optional<double> fitted_exponent(const std::vector<std::pair<double, double>>& points);

}  // namespace bench
