//! Clusters of small made-up columns: sizes, order, quality, and data without structure.

use super::arithmetic::{Mean, square_distance};
use super::*;
use crate::error::ErrorKind;
use crate::index::vector::random::Random;

const DIM: usize = 12;

/// Rows around `centers` points, with noise of a width that differs by center.
fn clustered(rows: usize, centers: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    let mut normal = move || {
        let sum: f64 = (0..12).map(|_| random.unit()).sum();
        #[expect(clippy::cast_possible_truncation, reason = "it is small")]
        let value = (sum - 6.0) as f32;
        value
    };
    let centers: Vec<[f32; DIM]> = (0..centers).map(|_| std::array::from_fn(|_| 3.0 * normal())).collect();
    let mut random = Random::new(seed ^ 1);
    let mut values = Vec::with_capacity(rows * DIM);
    for _ in 0..rows {
        // The product of two draws: some centers have many more rows than others.
        let center = random.below(random.clone().below(centers.len()) + 1);
        values.extend(centers[center].iter().map(|c| c + normal()));
    }
    values
}

fn points(values: &[f32]) -> Points<'_> {
    Points::new(values, DIM).unwrap()
}

fn train(values: &[f32], cluster_rows: usize) -> Clusters {
    let training = Training::new(cluster_rows, 7);
    let clusters = Clusters::train(points(values), &training, &TrainingProgress::default()).unwrap();
    check(points(values), &training, &clusters);
    clusters
}

/// What holds for all clusters: bounded, complete, and each centroid the mean of its rows.
fn check(points: Points<'_>, training: &Training, clusters: &Clusters) {
    let centroids = Points::new(&clusters.centroids, points.dim()).unwrap();
    assert_eq!(centroids.rows(), clusters.sizes.len());
    assert_eq!(clusters.assignment.len(), points.rows());
    for (cluster, size) in clusters.sizes.iter().enumerate() {
        let rows = (0..points.rows()).filter(|row| clusters.assignment[*row] as usize == cluster);
        let rows: Vec<_> = rows.map(|row| points.row(row)).collect();
        assert_eq!(rows.len(), *size as usize);
        assert!(rows.len() <= training.rows_max(), "{cluster}: {size}");
        assert!(rows.len() >= training.rows_min().max(1) || clusters.sizes.len() == 1, "{cluster}: {size}");
        assert_eq!(Mean::of_vectors(points.dim(), rows), centroids.row(cluster));
    }
}

/// The mean square distance of a row to its centroid.
#[expect(clippy::cast_precision_loss, reason = "there are few rows")]
fn distortion(points: Points<'_>, centroids: Points<'_>, assignment: &[u32]) -> f64 {
    let gap = |(row, cluster): (&[f32], &u32)| square_distance(row, centroids.row(*cluster as usize));
    points.iter().zip(assignment).map(gap).map(f64::from).sum::<f64>() / points.rows() as f64
}

/// Lloyd's algorithm over all rows, from rows drawn at random.
fn lloyd(points: Points<'_>, count: usize, rounds: usize) -> f64 {
    let first = Random::new(3).sample(0..u32::try_from(points.rows()).unwrap(), count);
    let values = first.iter().flat_map(|row| points.row(*row as usize).to_vec()).collect();
    let mut centroids = Centroids::new(values, points.dim()).unwrap();
    let mut nearest = Vec::new();
    for _ in 0..rounds {
        nearest = centroids.assign(points, &TrainingProgress::default()).unwrap();
        let mut means = vec![Mean::new(points.dim()); count];
        for (row, cluster) in points.iter().zip(&nearest) {
            means[*cluster as usize].add_row(row);
        }
        let values = means.iter().flat_map(Mean::components).collect();
        centroids = Centroids::new(values, points.dim()).unwrap();
    }
    distortion(points, centroids.points(), &nearest)
}

#[test]
fn clusters_are_bounded_and_about_as_tight_as_plain_k_means() {
    let values = clustered(12_000, 90, 1);
    let clusters = train(&values, 100);
    assert!((100..=140).contains(&clusters.sizes.len()), "{}", clusters.sizes.len());
    let centroids = Points::new(&clusters.centroids, DIM).unwrap();
    let found = distortion(points(&values), centroids, &clusters.assignment);
    let plain = lloyd(points(&values), clusters.sizes.len(), 12);
    assert!(found < 1.05 * plain, "{found} against {plain}");
}

#[test]
fn the_nearest_centroid_is_found_even_far_from_the_origin() {
    let centers = clustered(53, 5, 3);
    for shift in [0.0, 1e4] {
        let shifted = |values: &[f32]| values.iter().map(|v| v + shift).collect::<Vec<_>>();
        let (values, centers) = (shifted(&clustered(301, 5, 2)), shifted(&centers));
        let centroids = Centroids::new(centers.clone(), DIM).unwrap();
        let found = centroids.assign(points(&values), &TrainingProgress::default()).unwrap();
        for (row, cluster) in points(&values).iter().zip(found) {
            let least =
                points(&centers).iter().map(|c| square_distance(row, c)).fold(f32::INFINITY, f32::min);
            let gap = square_distance(row, points(&centers).row(cluster as usize));
            assert!(gap <= least * 1.0001, "{gap} instead of {least}");
        }
    }
}

#[test]
fn ranges_of_rows_can_be_assigned_apart() {
    let values = clustered(1000, 9, 4);
    let (training, progress) = (Training::new(30, 1), TrainingProgress::default());
    let centroids = Centroids::train(points(&values), &training, &progress).unwrap();
    let whole = centroids.assign(points(&values), &progress).unwrap();
    let halves = std::thread::scope(|scope| {
        let half = |rows| scope.spawn(|| centroids.assign(points(&values).slice(rows), &progress).unwrap());
        let halves = [half(0..333), half(333..1000)];
        halves.map(|half| half.join().unwrap()).concat()
    });
    assert_eq!(whole, halves);
}

/// The figures were computed once; another processor has to come to the same.
#[test]
fn a_seed_determines_every_bit() {
    let values = clustered(3000, 40, 5);
    let (one, two) = (train(&values, 60), train(&values, 60));
    assert_eq!(one, two);
    let bytes: Vec<u8> = one.centroids.iter().flat_map(|value| value.to_le_bytes()).collect();
    let clusters: Vec<u8> = one.assignment.iter().flat_map(|cluster| cluster.to_le_bytes()).collect();
    let checksums = (crate::codec::checksum(&bytes), crate::codec::checksum(&clusters));
    assert_eq!(checksums, (14_450_625_471_475_467_932, 5_334_424_165_684_282_698));
    let other =
        Clusters::train(points(&values), &Training::new(60, 8), &TrainingProgress::default()).unwrap();
    assert_ne!(one, other);
}

#[test]
fn neighbours_on_disk_are_neighbours_in_space() {
    let clusters = train(&clustered(12_000, 30, 6), 60);
    let centroids = Points::new(&clusters.centroids, DIM).unwrap();
    let step = |a: usize, b: usize| f64::from(square_distance(centroids.row(a), centroids.row(b)));
    let count = centroids.rows();
    let along: f64 = (1..count).map(|cluster| step(cluster - 1, cluster)).sum();
    // 7 and the number of clusters may have a common factor; it is as good as chance all the same.
    let across: f64 = (1..count).map(|cluster| step((cluster - 1) * 7 % count, cluster * 7 % count)).sum();
    assert!(along < 0.6 * across, "{along} against {across}");
}

#[test]
fn rows_that_cannot_be_told_apart_are_divided_by_number() {
    let clusters = train(&vec![1.5; 2000 * DIM], 100);
    assert!(clusters.sizes.iter().all(|size| *size == 125), "{:?}", clusters.sizes);
    assert_eq!(clusters.centroids, vec![1.5; 16 * DIM]);
    // Nearly all the same, with a few places besides.
    let mut values = vec![0.0; 3000 * DIM];
    for (row, value) in values.chunks_mut(DIM).step_by(37).zip([1.0, 2.0, 3.0].iter().cycle()) {
        row.fill(*value);
    }
    train(&values, 50);
    // One component alone differs, then two values alone.
    let constant = |value: fn(usize) -> f32| {
        (0..2500 * DIM).map(|i| if i % DIM == 5 { value(i / DIM) } else { 4.0 }).collect::<Vec<_>>()
    };
    train(&constant(|row| f32::from(u16::try_from(row % 997).unwrap())), 80);
    train(&constant(|row| f32::from(u16::try_from(row % 2).unwrap())), 80);
}

#[test]
fn few_rows_make_one_cluster_and_none_make_none() {
    assert!(train(&[], 10).sizes.is_empty());
    assert_eq!(train(&[2.0; DIM], 10).sizes, [1]);
    assert_eq!(train(&clustered(14, 3, 1), 10).sizes, [14]);
    // As many clusters as rows, or nearly.
    let values = clustered(300, 20, 2);
    let clusters = train(&values, 1);
    assert!(clusters.sizes.len() >= 150);
    train(&values, 2);
    // As little work as can be asked for.
    let training = Training { sample_per_cluster: 0, iterations: 0, refinements: 0, ..Training::new(10, 1) };
    let clusters = Clusters::train(points(&values), &training, &TrainingProgress::default()).unwrap();
    check(points(&values), &training, &clusters);
}

#[test]
fn large_values_and_far_rows_do_no_harm() {
    let mut values = clustered(2000, 20, 9);
    for (row, scale) in values.chunks_mut(DIM).step_by(400).zip([1e18, -1e19, 3e38, 1e6, -3e38]) {
        row.fill(scale);
    }
    train(&values, 64);
    for value in &mut values {
        *value *= 1e-30;
    }
    train(&values, 64);
}

#[test]
fn work_is_counted_and_can_be_cancelled() {
    let values = clustered(4000, 30, 11);
    let (training, progress) = (Training::new(40, 2), TrainingProgress::default());
    Clusters::train(points(&values), &training, &progress).unwrap();
    let (done, work) = (progress.done(), training.expected_comparisons(4000));
    assert!(done > work / 2 && done < 2 * work, "{done} of {work}");
    progress.cancel();
    let error = Clusters::train(points(&values), &training, &progress).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(progress.done() - done < work / 50, "it ends at once");
}

#[test]
fn what_does_not_fit_is_an_error() {
    assert!(Points::new(&[0.0; 7], 3).is_err());
    assert!(Points::new(&[], 0).is_err());
    let (values, other) = ([0.0; 6], [0.0; 8]);
    let centroids = Centroids::new(values.to_vec(), 3).unwrap();
    assert!(centroids.assign(Points::new(&other, 4).unwrap(), &TrainingProgress::default()).is_err());
    assert!(std::panic::catch_unwind(|| points(&[0.0; DIM]).row(1).len()).is_err());
    for assignment in [&[0, 1][..], &[0, 2], &[0]] {
        let rows = Points::new(&values, 3).unwrap();
        let training = Training::new(1, 0);
        let built = Clusters::build(rows, &centroids, assignment, &training, &TrainingProgress::default());
        assert_eq!(built.is_ok(), assignment == [0, 1]);
    }
}

#[test]
fn of_many_centroids_the_nearest_is_found_among_those_of_the_nearest_cells() {
    let values = clustered(50_000, 300, 21);
    let clusters = train(&values, 16);
    let centroids = Centroids::new(clusters.centroids.clone(), DIM).unwrap();
    assert!(centroids.len() > 2_048, "{}", centroids.len());
    let queries = clustered(2_000, 300, 21);
    let found = centroids.assign(points(&queries), &TrainingProgress::default()).unwrap();
    let gap = |row: usize, centroid: usize| {
        square_distance(points(&queries).row(row), centroids.points().row(centroid))
    };
    let (mut missed, mut sum, mut least) = (0, 0.0, 0.0);
    for (row, found) in found.iter().enumerate() {
        let nearest = (0..centroids.len()).map(|centroid| gap(row, centroid)).fold(f32::MAX, f32::min);
        let found = gap(row, *found as usize);
        missed += usize::from(found > nearest);
        (sum, least) = (sum + f64::from(found), least + f64::from(nearest));
    }
    // Where it is missed, another is about as near.
    assert!(missed < 100 && sum < 1.01 * least, "{missed} of 2,000, {sum} for {least}");
    // Each row for itself.
    let slice = centroids.assign(points(&queries).slice(300..500), &TrainingProgress::default()).unwrap();
    assert_eq!(slice, found[300..500]);
}
