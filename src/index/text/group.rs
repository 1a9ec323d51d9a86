//! Tokens that stand for one: a prefix, or what a misspelt token may mean.
#![expect(clippy::cast_precision_loss, reason = "frequencies become weights")]

use super::blocks::Blocks;
use super::expand::Spec;
use super::postings::{END, Postings};
use super::scorer::Weigher;
use super::search::Loaded;
use super::source::Found;
use super::sweep::{LANE, WINDOW};
use crate::error::Result;

/// Tokens of up to so many rows are rare.
const RARE_MAX: u64 = 128;

/// The rows of some tokens, how often each holds them, and a walk over them.
pub(super) struct Group {
    pub(super) rows: Vec<(u32, f32)>,
    pub(super) weigher: Weigher,
    at: usize,
}

impl Group {
    /// The rows of tokens of a column. A nearer token counts more.
    pub(super) fn new(part: &Loaded, field: usize, found: &[&Found], weigher: Weigher) -> Result<Self> {
        // Tokens come in the same order everywhere: sums of floats depend on it. Only whole numbers do not, so that rare
        // tokens, of which a prefix may have many, can be gathered apart.
        let mut walks: Vec<(Postings, f32)> = Vec::new();
        let mut rare: Vec<(u32, f32)> = Vec::new();
        for found in found {
            let mut postings = part.source.postings(field, found, false)?;
            let share = Spec::share(found.edits);
            if found.edits > 0 || found.frequency() > RARE_MAX {
                walks.push((postings, share));
                continue;
            }
            while postings.row() != END {
                rare.push((postings.row(), postings.frequency() as f32));
                postings.advance();
            }
        }
        rare.sort_unstable_by_key(|(row, _)| *row);
        let most = found.iter().map(|found| found.frequency()).sum::<u64>().min(weigher.norms.len() as u64);
        let mut rows = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
        let mut sums = vec![0.0_f32; WINDOW as usize];
        let mut rare = rare.into_iter().peekable();
        loop {
            let first = walks.iter().map(|(postings, _)| postings.row()).min().unwrap_or(END);
            let row = rare.peek().map_or(END, |(row, _)| *row).min(first);
            if row == END {
                break;
            }
            let start = row - row % WINDOW;
            let end = start.saturating_add(WINDOW);
            while let Some((row, frequency)) = rare.next_if(|(row, _)| *row < end) {
                if let Some(sum) = sums.get_mut((row - start) as usize) {
                    *sum += frequency;
                }
            }
            for (postings, share) in &mut walks {
                match postings {
                    Postings::Blocks(blocks) => add(blocks, *share, start..end, &mut sums),
                    Postings::Memory(..) => {
                        while postings.row() < end {
                            if let Some(sum) = sums.get_mut((postings.row() - start) as usize) {
                                *sum += *share * postings.frequency() as f32;
                            }
                            postings.advance();
                        }
                    }
                }
            }
            collect(&mut sums, start, &mut rows);
        }
        Ok(Self { rows, weigher, at: 0 })
    }

    pub(super) fn row(&self) -> u32 {
        self.rows.get(self.at).map_or(END, |(row, _)| *row)
    }

    /// On to the first row that is not below `row`.
    pub(super) fn seek(&mut self, row: u32) -> u32 {
        let ahead = self.rows.get(self.at..).unwrap_or_default();
        self.at += match ahead {
            [] => 0,
            [(at, _), ..] if *at >= row => 0,
            [_, (at, _), ..] if *at >= row => 1,
            _ => ahead.partition_point(|(at, _)| *at < row),
        };
        self.row()
    }

    pub(super) fn score(&self) -> f32 {
        self.rows.get(self.at).map_or(0.0, |(row, frequency)| self.weigher.score(*row, *frequency))
    }

    pub(super) fn cost(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn bound(&self) -> f32 {
        self.weigher.weight
    }
}

/// Adds the rows from `start` on that have a sum, which leaves the sums 0.
fn collect(sums: &mut [f32], start: u32, rows: &mut Vec<(u32, f32)>) {
    for (lane, start) in sums.as_chunks_mut::<LANE>().0.iter_mut().zip((start..).step_by(LANE)) {
        let mut found = [(0, 0.0); LANE];
        let mut count = 0;
        for (sum, row) in lane.iter().zip(start..) {
            // Written in any case: a branch would be a guess.
            if let Some(slot) = found.get_mut(count) {
                *slot = (row, *sum);
            }
            count += usize::from(*sum > 0.0);
        }
        rows.extend_from_slice(found.get(..count).unwrap_or_default());
        *lane = [0.0; LANE];
    }
}

/// Adds how often the rows of a window hold a token, and goes behind them.
fn add(blocks: &mut Blocks, share: f32, rows: std::ops::Range<u32>, sums: &mut [f32]) {
    if blocks.row() >= rows.end {
        return;
    }
    loop {
        let (found, frequencies) = blocks.until(rows.end);
        for (row, frequency) in found.iter().zip(frequencies) {
            if let Some(sum) = sums.get_mut((row - rows.start) as usize) {
                *sum += share * *frequency as f32;
            }
        }
        if found.is_empty() || !blocks.goes_on() {
            return;
        }
    }
}
