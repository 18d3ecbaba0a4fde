"""Run every benchmark: ``make bench``."""

from benchmarks import bench_advi, bench_boxes, bench_hierarchical, bench_predict, bench_sgmcmc

if __name__ == "__main__":
    bench_advi.main()
    bench_predict.main()
    bench_hierarchical.main()
    bench_boxes.main()
    bench_sgmcmc.main()
