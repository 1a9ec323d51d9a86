//! The common shapes of queries as flat loops over the blocks of a segment: one token, any or all of some, a phrase.
//!
//! What the rows of a block score at most is known beforehand (Ding and Suel 2011). Rows are looked at in windows,
//! the most promising first, until no window holds a row that may be among the best. In a window the tokens that
//! together cannot bring a row there are only asked about the rows that others found (Turtle and Flood 1995).
//! A row that scores as the worst of the best is never left out: ties are kept.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use std::collections::BinaryHeap;
use std::ops::Range;

use super::blocks::{BLOCK, Blocks};
use super::bm25::{enough, score};
use super::bounds::{SLACK, bounds};
use super::group::Group;
use super::phrase::Phrase;
use super::scorer::Weigher;
use super::top::Top;

/// Rows of a window.
pub(super) const WINDOW: u32 = 1 << 11;
/// Sums that are passed over together.
pub(super) const LANE: usize = 16;
/// To find one row costs as much as to pass over so many.
const CROWD: usize = 12;

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

    /// Adds its scores to those of the rows of a window.
    fn add(&mut self, rows: &Range<u32>, sums: &mut [f64]) {
        self.blocks.jump(rows.start);
        loop {
            let (found, frequencies) = self.blocks.until(rows.end);
            for (row, frequency) in found.iter().zip(frequencies) {
                if let Some(sum) = sums.get_mut((row - rows.start) as usize) {
                    *sum += f64::from(self.weigher.score(*row, *frequency as f32));
                }
            }
            if found.is_empty() || !self.blocks.goes_on() {
                return;
            }
        }
    }

    /// About how many rows of a window hold it.
    fn crowd(&self, rows: &Range<u32>) -> usize {
        let all = self.weigher.norms.len().max(1) as u64;
        usize::try_from(self.blocks.cost() * rows.len() as u64 / all).unwrap_or(usize::MAX)
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

/// What tokens score at most in each window, and the most promising window first.
struct Windows {
    of: Vec<Vec<f32>>,
    order: Order,
}

impl Windows {
    /// `join` makes one bound of the bounds of all tokens in a window; it is below 0 where no row can match.
    fn new(tokens: &[Token<'_>], rows: u32, join: impl Fn(&mut dyn Iterator<Item = f32>) -> f32) -> Self {
        let of: Vec<Vec<f32>> = tokens.iter().map(|token| token.windows(rows)).collect();
        let join = |window| join(&mut of.iter().map(|of| of.get(window).copied().unwrap_or(-1.0)));
        let order = order((0..windows_of(rows) as usize).map(join));
        Self { of, order }
    }

    /// The next window that may have a row of `least`.
    fn next(&mut self, least: f32) -> Option<u32> {
        next(&mut self.order, least)
    }

    /// What a token scores at most in a window; below 0 if it is not there.
    fn bound(&self, token: usize, window: u32) -> f64 {
        self.of.get(token).and_then(|of| of.get(window as usize)).copied().unwrap_or(-1.0).into()
    }
}

/// The rows of a window.
fn rows_of(window: u32) -> Range<u32> {
    window * WINDOW..(window + 1).saturating_mul(WINDOW)
}

/// Offers every row with any of the tokens: the sum.
pub(super) fn any(tokens: &mut [Token<'_>], rows: u32, top: &mut Top<'_>) {
    let mut windows = Windows::new(tokens, rows, |bounds| {
        bounds.filter(|bound| *bound >= 0.0).reduce(|a, b| a + b).unwrap_or(-1.0) * SLACK
    });
    let mut sums = vec![0.0_f64; WINDOW as usize];
    let mut rows = Candidates::default();
    let mut here: Vec<(f64, usize)> = Vec::with_capacity(tokens.len());
    while let Some(window) = windows.next(top.least()) {
        here.clear();
        here.extend(
            (0..tokens.len()).map(|at| (windows.bound(at, window), at)).filter(|(bound, _)| *bound >= 0.0),
        );
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
        rows.start(window);
        if let [(_, at)] = others {
            if let Some(token) = tokens.get_mut(*at) {
                rows.begin(token, rest, top);
            }
        } else {
            for (_, at) in others {
                if let Some(token) = tokens.get_mut(*at) {
                    token.add(&rows.range, &mut sums);
                }
            }
            rows.collect(&mut sums, f64::from(top.least()) - rest);
        }
        for (bound, at) in few.iter().rev() {
            rest -= bound;
            if let Some(token) = tokens.get_mut(*at) {
                rows.join(token, false, rest, top);
            }
        }
        rows.offer(top);
    }
}

/// Offers every row with all of the tokens: the sum. The rarest comes first.
pub(super) fn all(tokens: &mut [Token<'_>], rows: u32, top: &mut Top<'_>) {
    let mut windows = Windows::new(tokens, rows, |bounds| {
        bounds.fold(0.0, |sum: f32, bound| if sum < 0.0 || bound < 0.0 { -1.0 } else { sum + bound }) * SLACK
    });
    let mut rows = Candidates::default();
    while let Some(window) = windows.next(top.least()) {
        let mut rest: f64 = (1..tokens.len()).map(|at| windows.bound(at, window)).sum();
        rows.start(window);
        for (token, at) in tokens.iter_mut().zip(0..) {
            if at == 0 {
                rows.begin(token, rest, top);
            } else {
                rest -= windows.bound(at, window);
                rows.join(token, true, rest, top);
            }
        }
        rows.offer(top);
    }
}

/// Rows of a window that may be among the best, with what is known of their scores.
#[derive(Debug, Default)]
struct Candidates {
    range: Range<u32>,
    rows: Vec<u32>,
    sums: Vec<f64>,
    /// For each row of the window its number among `rows`, from 1; 0 of others. All 0 between calls.
    numbers: Vec<u16>,
    /// Rows by number, with the score to add.
    found: Vec<(u16, f32)>,
}

impl Candidates {
    fn start(&mut self, window: u32) {
        self.range = rows_of(window);
        self.rows.clear();
        self.sums.clear();
    }

    fn push(&mut self, row: u32, sum: f64) {
        self.rows.push(row);
        self.sums.push(sum);
    }

    /// The rows of a token that may be enough with what others add, at most `rest`.
    fn begin(&mut self, token: &mut Token<'_>, rest: f64, top: &Top<'_>) {
        let need = token.weigher.enough(f64::from(top.least()) - rest);
        token.blocks.jump(self.range.start);
        loop {
            let (found, frequencies) = token.blocks.until(self.range.end);
            let mut hits = [(0, 0.0, 0.0); BLOCK];
            let mut count = 0;
            for (row, frequency) in found.iter().zip(frequencies) {
                let (length, frequency) = (token.weigher.length(*row), *frequency as f32);
                // Written in any case: a branch would be a guess.
                if let Some(slot) = hits.get_mut(count) {
                    *slot = (*row, frequency, length);
                }
                count += usize::from(frequency >= need * length);
            }
            let hits = hits.get(..count).unwrap_or_default();
            self.rows.extend(hits.iter().map(|(row, ..)| *row));
            let weight = token.weigher.weight;
            self.sums.extend(
                hits.iter().map(|(_, frequency, length)| f64::from(score(weight, *frequency, *length))),
            );
            if found.is_empty() || !token.blocks.goes_on() {
                return;
            }
        }
    }

    /// The rows whose sum is at least `least`, which leaves the sums 0.
    fn collect(&mut self, sums: &mut [f64], least: f64) {
        // Of rows without a sum nothing is known.
        let least = least.max(f64::MIN_POSITIVE);
        for (lane, start) in sums.as_chunks_mut::<LANE>().0.iter_mut().zip((self.range.start..).step_by(LANE))
        {
            let mut most = [0.0_f64; LANE / 4];
            for four in lane.as_chunks::<{ LANE / 4 }>().0 {
                for (most, sum) in most.iter_mut().zip(four) {
                    *most = if *sum > *most { *sum } else { *most };
                }
            }
            if most.iter().any(|most| *most >= least) {
                for (sum, row) in lane.iter().zip(start..).filter(|(sum, _)| **sum >= least) {
                    self.push(row, *sum);
                }
            }
            *lane = [0.0; LANE];
        }
    }

    /// Adds what a token scores, and leaves the rows that may be enough with what others add, at most `rest`; if
    /// the token is `wanted`, only rows that hold it.
    fn join(&mut self, token: &mut Token<'_>, wanted: bool, rest: f64, top: &Top<'_>) {
        if self.rows.is_empty() {
            return;
        }
        self.found.clear();
        if token.crowd(&self.range) > self.rows.len() * CROWD {
            for (row, number) in self.rows.iter().zip(1..) {
                self.found.extend(token.find(*row).map(|score| (number, score)));
            }
        } else {
            self.merge(token);
        }
        let least = f64::from(top.least()) - rest;
        let mut kept = 0;
        if wanted {
            for (number, score) in &self.found {
                let at = usize::from(*number) - 1;
                let (Some(row), Some(sum)) = (self.rows.get(at).copied(), self.sums.get(at)) else {
                    continue;
                };
                let sum = sum + f64::from(*score);
                kept = keep(&mut self.rows, &mut self.sums, kept, (row, sum), sum >= least);
            }
        } else {
            for (number, score) in &self.found {
                if let Some(sum) = self.sums.get_mut(usize::from(*number) - 1) {
                    *sum += f64::from(*score);
                }
            }
            for at in 0..self.rows.len() {
                let (Some(row), Some(sum)) = (self.rows.get(at).copied(), self.sums.get(at).copied()) else {
                    continue;
                };
                kept = keep(&mut self.rows, &mut self.sums, kept, (row, sum), sum >= least);
            }
        }
        self.rows.truncate(kept);
        self.sums.truncate(kept);
    }

    /// Finds what a token scores by passing over all its rows in the window.
    fn merge(&mut self, token: &mut Token<'_>) {
        let start = self.range.start;
        self.numbers.resize(WINDOW as usize, 0);
        for (row, number) in self.rows.iter().zip(1..) {
            if let Some(slot) = self.numbers.get_mut((row - start) as usize) {
                *slot = number;
            }
        }
        token.blocks.jump(start);
        let mut hits = [(0_u16, 0_u32, 0_u32); BLOCK];
        loop {
            let (found, frequencies) = token.blocks.until(self.range.end);
            let mut count = 0;
            for (row, frequency) in found.iter().zip(frequencies) {
                let number = self.numbers.get((row - start) as usize).copied().unwrap_or_default();
                // Written in any case: a branch would be a guess.
                if let Some(slot) = hits.get_mut(count) {
                    *slot = (number, *row, *frequency);
                }
                count += usize::from(number > 0);
            }
            let hits = hits.iter().take(count);
            self.found.extend(
                hits.map(|(number, row, frequency)| (*number, token.weigher.score(*row, *frequency as f32))),
            );
            if found.is_empty() || !token.blocks.goes_on() {
                break;
            }
        }
        for row in &self.rows {
            if let Some(slot) = self.numbers.get_mut((row - start) as usize) {
                *slot = 0;
            }
        }
    }

    fn offer(&mut self, top: &mut Top<'_>) {
        for (row, sum) in self.rows.iter().zip(&self.sums) {
            #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
            top.offer(*sum as f32, *row);
        }
    }
}

/// Puts a row at a place that was read already; the place behind it if it is to stay.
fn keep(rows: &mut [u32], sums: &mut [f64], at: usize, (row, sum): (u32, f64), stays: bool) -> usize {
    if let (Some(to), Some(to_sum)) = (rows.get_mut(at), sums.get_mut(at)) {
        (*to, *to_sum) = (row, sum);
    }
    at + usize::from(stays)
}

/// Offers every row with a phrase. A row cannot hold it more often than it holds each of its words.
pub(super) fn phrase(phrase: &mut Phrase, rows: u32, top: &mut Top<'_>) {
    let weigher = phrase.weigher().clone();
    let mut windows: Vec<f32> = vec![f32::INFINITY; windows_of(rows) as usize];
    for blocks in phrase.blocks() {
        let bounds = bounds(blocks, &weigher);
        let of = Token { blocks, weigher: &weigher, bounds: &bounds }.windows(rows);
        windows.iter_mut().zip(of).for_each(|(least, bound)| *least = least.min(bound));
    }
    let mut order = order(windows.into_iter());
    let mut found = Vec::new();
    while let Some(window) = next(&mut order, top.least()) {
        let need = weigher.enough(top.least().into());
        let enough = |row: u32, frequency: u32| frequency as f32 >= need * weigher.length(row);
        found.clear();
        if let Some(first) = phrase.blocks().next() {
            let range = rows_of(window);
            first.jump(range.start);
            loop {
                let (rows, frequencies) = first.until(range.end);
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
