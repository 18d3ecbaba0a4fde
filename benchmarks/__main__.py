"""Run every benchmark: ``make bench``."""

from benchmarks import bench_advi, bench_hierarchical, bench_predict

if __name__ == "__main__":
    bench_advi.main()
    bench_predict.main()
    bench_hierarchical.main()
