"""Side-by-side timings against peers, on the same work in one run; quote ratios with spreads."""
