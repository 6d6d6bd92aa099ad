// Sums that agree to the last bit, and figures that agree to the last digit shown.

/**
 * The sum without rounding in between (Neumaier): what Python's `math.fsum` of a score's contributions gives.
 * @param {Iterable<number>} values
 */
export function exactSum(values) {
  let sum = 0;
  let lost = 0;
  for (const value of values) {
    const next = sum + value;
    lost += Math.abs(sum) >= Math.abs(value) ? sum - next + value : value - next + sum;
    sum = next;
  }
  return sum + lost;
}

/**
 * Values in hundredths that sum to the rounded total: each is within one hundredth of its value. The largest remainders
 * are rounded up, so that a reader who adds up what is shown finds the score that is shown.
 * @param {number[]} values
 * @returns {{parts: number[], total: number}} whole hundredths
 */
export function hundredths(values) {
  const exact = values.map((value) => value * 100);
  const parts = exact.map(Math.floor);
  const total = Math.round(exactSum(exact));
  let lacking = total - parts.reduce((sum, part) => sum + part, 0);
  const order = exact.map((value, i) => i).sort((a, b) => exact[b] - parts[b] - (exact[a] - parts[a]) || a - b);
  for (const i of order) {
    if (lacking <= 0) break;
    parts[i] += 1;
    lacking -= 1;
  }
  return { parts, total };
}
