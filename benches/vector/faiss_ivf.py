"""Measures faiss's inverted files on a set, one query a call on one thread, in CPU time.

Usage: faiss_ivf.py FOLDER, with base.npy, query.npy, gt.npy and manifest.json. Needs faiss-cpu and numpy.
"""

import sys
import time
from pathlib import Path

import faiss
import numpy as np

QUERIES = 1_000
LIMIT = 10


def measure(name, search, queries, truth):
    for query in queries[:50]:
        search(query)
    best, found = float("inf"), None
    for _ in range(2):
        start = time.process_time()
        found = [search(query) for query in queries]
        best = min(best, (time.process_time() - start) / len(queries))
    recall = np.mean([len(set(ids) & set(rows[:LIMIT])) / LIMIT for ids, rows in zip(found, truth)])
    print(f"| {name} | {recall:.4f} | {best * 1e3:.3f} |", flush=True)


def main():
    folder = Path(sys.argv[1])
    faiss.omp_set_num_threads(1)
    base = np.load(folder / "base.npy")
    queries = np.load(folder / "query.npy")[:QUERIES]
    truth = np.load(folder / "gt.npy")[:QUERIES]
    cosine = '"cosine"' in (folder / "manifest.json").read_text()
    metric = faiss.METRIC_INNER_PRODUCT if cosine else faiss.METRIC_L2
    dimension = base.shape[1]
    lists = int(4 * len(base) ** 0.5)
    print(f"\n| faiss {faiss.__version__}, {lists} lists | recall@10 | ms of CPU a query |\n|---|---|---|")

    def build(factory):
        start = time.process_time()
        index = faiss.index_factory(dimension, factory, metric)
        index.train(base)
        index.add(base)
        print(f"| {factory}, build {time.process_time() - start:.1f} s of CPU | | |", flush=True)
        return index

    # A query as an array of one row, as faiss takes it.
    rows = [np.ascontiguousarray(query[None]) for query in queries]

    flat = build(f"IVF{lists},Flat")
    for probes in (32, 64, 128):
        flat.nprobe = probes
        measure(f"IVF-Flat, {probes} probes", lambda q: flat.search(q, LIMIT)[1][0], rows, truth)
    del flat

    half = next(m for m in (dimension // 2, dimension // 4) if dimension % m == 0)
    scan = faiss.index_factory(dimension, f"IVF{lists},PQ{half}x4fs", metric)
    start = time.process_time()
    scan.train(base)
    scan.add(base)
    refined = faiss.IndexRefineFlat(scan, faiss.swig_ptr(base))
    print(f"| IVF{lists},PQ{half}x4fs, build {time.process_time() - start:.1f} s of CPU | | |", flush=True)
    for probes in (32, 64, 128, 256):
        scan.nprobe = probes
        refined.k_factor = 20
        measure(f"IVF-PQ fast-scan, rerank 200, {probes} probes", lambda q: refined.search(q, LIMIT)[1][0], rows, truth)
    del refined, scan

    try:
        codes = build(f"IVF{lists},RaBitQ4")
    except RuntimeError as error:
        print(f"| IVF-RaBitQ: {str(error).splitlines()[0][:60]} | | |")
        return
    refined = faiss.IndexRefineFlat(codes, faiss.swig_ptr(base))
    refined.k_factor = 5
    for probes in (32, 64, 128):
        codes.nprobe = probes
        measure(f"IVF-RaBitQ 4 bits, rerank 50, {probes} probes", lambda q: refined.search(q, LIMIT)[1][0], rows, truth)


if __name__ == "__main__":
    main()
