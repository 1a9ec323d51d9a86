//! The common shapes of queries as flat loops over the blocks of a segment: one token, any or all of some, a phrase.
//!
//! What the rows of a block score at most is known beforehand (Ding and Suel 2011). Rows are looked at in windows,
//! the most promising first, until no window holds a row that may be among the best. In a window the tokens that
//! together cannot bring a row there are only asked about the rows that others found (Turtle and Flood 1995).
//! A row that scores as the worst of the best is never left out: ties are kept.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::collections::BinaryHeap;

use super::blocks::Blocks;
use super::bm25::enough;
use super::bounds::{SLACK, bounds};
use super::group::Group;
use super::phrase::Phrase;
use super::scorer::Weigher;
use super::top::Top;

/// Rows of a window.
pub(super) const WINDOW: u32 = 1 << 11;
/// Sums that are passed over together.
const LANE: usize = 16;

/// A token of a segment: its postings, and what their blocks score at most.
pub(super) struct Token<'a> {
    pub(super) blocks: &'a mut Blocks,
    pub(super) weigher: &'a Weigher,
    pub(super) bounds: &'a [f32],
}

/// Bounds in order: of blocks or of windows. None is negative, so their bits are in their order.
type Order = BinaryHeap<(u32, u32)>;

fn order(bounds: impl Iterator<Item = f32>) -> Order {
    let bounds = bounds.zip(0..).filter(|(bound, _)| *bound >= 0.0);
    bounds.map(|(bound, at)| (bound.to_bits(), at)).collect::<Vec<_>>().into()
}

/// The next of them that may reach `least`.
fn next(order: &mut Order, least: f32) -> Option<u32> {
    let (bound, at) = order.pop()?;
    (f32::from_bits(bound) >= least).then_some(at)
}

impl Token<'_> {
    /// What the rows of each window score at most; below 0 where there are none.
    fn windows(&self, rows: u32) -> Vec<f32> {
        let mut windows = vec![-1.0; windows_of(rows) as usize];
        let mut from = 0;
        for (block, bound) in self.blocks.blocks().iter().zip(self.bounds) {
            let last = (block.last / WINDOW) as usize;
            for window in windows.iter_mut().take(last + 1).skip(from) {
                *window = bound.max(*window);
            }
            from = (block.last.saturating_add(1) / WINDOW) as usize;
        }
        windows
    }

    /// The score of a row, if it holds the token.
    fn find(&mut self, row: u32) -> Option<f32> {
        let frequency = self.blocks.find(row)?;
        Some(self.weigher.score(row, frequency as f32))
    }
}

/// Offers every row with the token.
pub(super) fn one(token: &mut Token<'_>, top: &mut Top<'_>) {
    let mut order = order(token.bounds.iter().copied());
    while let Some(block) = next(&mut order, top.least()) {
        token.blocks.load(block as usize);
        let (rows, frequencies) = token.blocks.rest();
        token
            .weigher
            .offer(rows.iter().zip(frequencies).map(|(row, frequency)| (*row, *frequency as f32)), top);
    }
}

/// Offers every row of some tokens that stand for one.
pub(super) fn group(group: &Group, top: &mut Top<'_>) {
    group.weigher.offer(group.rows.iter().copied(), top);
}

impl Weigher {
    /// See [`enough`].
    #[expect(clippy::cast_possible_truncation, reason = "a bound, with room for rounding")]
    fn enough(&self, least: f64) -> f32 {
        enough(self.weight, least as f32)
    }

    fn offer(&self, rows: impl Iterator<Item = (u32, f32)>, top: &mut Top<'_>) {
        let mut need = self.enough(top.least().into());
        for (row, frequency) in rows {
            let length = self.length(row);
            if frequency >= need * length {
                top.offer(self.score(row, frequency), row);
                need = self.enough(top.least().into());
            }
        }
    }
}

/// Offers every row with any of the tokens: the sum.
pub(super) fn any(tokens: &mut [Token<'_>], rows: u32, top: &mut Top<'_>) {
    let windows: Vec<Vec<f32>> = tokens.iter().map(|token| token.windows(rows)).collect();
    let all = 0..tokens.len();
    let mut order = order((0..windows_of(rows)).map(|window| {
        let bounds = all.clone().map(|at| bound(&windows, at, window)).filter(|bound| *bound >= 0.0);
        bounds.reduce(|a, b| a + b).unwrap_or(-1.0) * SLACK
    }));
    let mut sums = vec![0.0_f64; WINDOW as usize];
    let mut here: Vec<(f64, usize)> = Vec::with_capacity(tokens.len());
    while let Some(window) = next(&mut order, top.least()) {
        here.clear();
        let bounds = all.clone().map(|at| (f64::from(bound(&windows, at, window)), at));
        here.extend(bounds.filter(|(bound, _)| *bound >= 0.0));
        here.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        // The first few together score too little: only the others bring rows.
        let mut rest = 0.0;
        let few = here.iter().position(|(bound, _)| {
            let more = rest + bound;
            let enough = more >= f64::from(top.least());
            rest = if enough { rest } else { more };
            enough
        });
        let (few, others) = here.split_at(few.unwrap_or(here.len()));
        let rows = window * WINDOW..(window + 1).saturating_mul(WINDOW);
        for (_, at) in others {
            if let Some(token) = tokens.get_mut(*at) {
                add(token, rows.clone(), &mut sums);
            }
        }
        settle(tokens, few, rest, rows.start, &mut sums, top);
    }
}

/// Adds the scores of a token to those of the rows of a window.
fn add(token: &mut Token<'_>, rows: std::ops::Range<u32>, sums: &mut [f64]) {
    token.blocks.jump(rows.start);
    loop {
        let (found, frequencies) = token.blocks.until(rows.end);
        if found.is_empty() {
            return;
        }
        for (row, frequency) in found.iter().zip(frequencies) {
            if let Some(sum) = sums.get_mut((row - rows.start) as usize) {
                *sum += f64::from(token.weigher.score(*row, *frequency as f32));
            }
        }
        if !token.blocks.goes_on() {
            return;
        }
    }
}

/// Offers the rows of a window, with what the few other tokens add, which is at most `rest`. Leaves the sums zero.
fn settle(
    tokens: &mut [Token<'_>],
    few: &[(f64, usize)],
    rest: f64,
    first: u32,
    sums: &mut [f64],
    top: &mut Top<'_>,
) {
    for (sums, lane) in sums.chunks_mut(LANE).zip(0..) {
        let least = f64::from(top.least()) - rest;
        // Of rows without a sum nothing is known.
        let least = least.max(f64::MIN_POSITIVE);
        if sums.iter().copied().fold(0.0, |a, b| if a > b { a } else { b }) >= least {
            for (sum, at) in sums.iter().zip(0..).filter(|(sum, _)| **sum >= least) {
                let row = first + lane * LANE as u32 + at;
                if let Some(sum) = with_few(tokens, few, (*sum, rest), row, top) {
                    offer(top, sum, row);
                }
            }
        }
        sums.fill(0.0);
    }
}

/// A sum with what the few others add, at most `rest`, to the score of a row. `None` if it cannot be enough.
fn with_few(
    tokens: &mut [Token<'_>],
    few: &[(f64, usize)],
    (mut sum, mut rest): (f64, f64),
    row: u32,
    top: &Top<'_>,
) -> Option<f64> {
    for (bound, at) in few.iter().rev() {
        if sum + rest < f64::from(top.least()) {
            return None;
        }
        rest -= bound;
        let found = tokens.get_mut(*at).and_then(|token| token.find(row));
        sum += f64::from(found.unwrap_or_default());
    }
    Some(sum)
}

/// Offers every row with all of the tokens: the sum. The rarest comes first.
pub(super) fn all(tokens: &mut [Token<'_>], rows: u32, top: &mut Top<'_>) {
    let windows: Vec<Vec<f32>> = tokens.iter().map(|token| token.windows(rows)).collect();
    let count = tokens.len();
    let mut order = order((0..windows_of(rows)).map(|window| {
        let bounds = (0..count).map(|at| bound(&windows, at, window));
        bounds.fold(0.0, |sum: f32, bound| if sum < 0.0 || bound < 0.0 { -1.0 } else { sum + bound }) * SLACK
    }));
    let Some((first, others)) = tokens.split_first_mut() else { return };
    let mut rests = vec![0.0; others.len()];
    while let Some(window) = next(&mut order, top.least()) {
        let mut rest = 0.0;
        for (slot, at) in rests.iter_mut().rev().zip((1..count).rev()) {
            rest += f64::from(bound(&windows, at, window).max(0.0));
            *slot = rest;
        }
        first.blocks.jump(window * WINDOW);
        loop {
            let (found, frequencies) = first.blocks.until((window + 1).saturating_mul(WINDOW));
            if found.is_empty() {
                break;
            }
            let mut need = first.weigher.enough(f64::from(top.least()) - rest);
            for (row, frequency) in found.iter().zip(frequencies) {
                let frequency = *frequency as f32;
                if frequency < need * first.weigher.length(*row) {
                    continue;
                }
                let sum = f64::from(first.weigher.score(*row, frequency));
                if let Some(sum) = with_others(others, &rests, sum, *row, top) {
                    offer(top, sum, *row);
                    need = first.weigher.enough(f64::from(top.least()) - rest);
                }
            }
            if !first.blocks.goes_on() {
                break;
            }
        }
    }
}

/// A sum with the scores that the others give a row, if all hold it and it may be enough; `rests` says how much they
/// give at most from each on.
fn with_others(
    others: &mut [Token<'_>],
    rests: &[f64],
    mut sum: f64,
    row: u32,
    top: &Top<'_>,
) -> Option<f64> {
    for (other, rest) in others.iter_mut().zip(rests) {
        if sum + rest < f64::from(top.least()) {
            return None;
        }
        sum += f64::from(other.find(row)?);
    }
    Some(sum)
}

/// Offers every row with a phrase. A row cannot hold it more often than it holds each of its words.
pub(super) fn phrase(phrase: &mut Phrase, rows: u32, top: &mut Top<'_>) {
    let weigher = phrase.weigher().clone();
    let mut windows = Vec::new();
    for blocks in phrase.blocks() {
        let bounds = bounds(blocks, &weigher);
        windows.push(Token { blocks, weigher: &weigher, bounds: &bounds }.windows(rows));
    }
    let count = windows.len();
    let mut order = order(
        (0..windows_of(rows))
            .map(|window| (0..count).map(|at| bound(&windows, at, window)).fold(f32::INFINITY, f32::min)),
    );
    let mut found = Vec::new();
    while let Some(window) = next(&mut order, top.least()) {
        let need = weigher.enough(top.least().into());
        let enough = |row: u32, frequency: u32| frequency as f32 >= need * weigher.length(row);
        found.clear();
        if let Some(first) = phrase.blocks().next() {
            first.jump(window * WINDOW);
            loop {
                let (rows, frequencies) = first.until((window + 1).saturating_mul(WINDOW));
                let rows = rows.iter().zip(frequencies);
                found.extend(rows.filter(|(row, frequency)| enough(**row, **frequency)).map(|(row, _)| *row));
                if !first.goes_on() {
                    break;
                }
            }
        }
        for row in found.iter().copied() {
            let need = weigher.enough(top.least().into());
            let enough = |frequency: u32| frequency as f32 >= need * weigher.length(row);
            if phrase.blocks().all(|blocks| blocks.find(row).is_some_and(enough)) {
                let frequency = phrase.occurrences(row);
                if frequency > 0.0 {
                    top.offer(weigher.score(row, frequency), row);
                }
            }
        }
    }
}

fn windows_of(rows: u32) -> u32 {
    rows.div_ceil(WINDOW)
}

/// What the rows of a window score at most by one of some tokens; below 0 if there are none.
fn bound(windows: &[Vec<f32>], at: usize, window: u32) -> f32 {
    windows.get(at).and_then(|of| of.get(window as usize)).copied().unwrap_or(-1.0)
}

fn offer(top: &mut Top<'_>, sum: f64, row: u32) {
    #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
    top.offer(sum as f32, row);
}
