//! Splitting a text into pieces, and making fragments of the pieces that match.

use std::collections::HashSet;
use std::ops::Range;

use super::offsets::OffsetCounter;
use super::{Fragment, FragmentBy, Mark};
use crate::error::{Error, Result};

/// A piece of a text with marks.
pub(super) struct Candidate {
    pub(super) element: usize,
    pub(super) range: Range<usize>,
    /// The number of distinct query terms that are marked in it.
    pub(super) words: usize,
    /// The number of its marks.
    pub(super) count: usize,
    /// The marks of the text that begin in it. Those of n-grams may end behind it: they are not its own.
    pub(super) marks: Range<usize>,
}

/// Adds the pieces of a text that have marks. The marks are in the order of the text.
pub(super) fn collect_candidates(
    element: usize,
    pieces: Vec<Range<usize>>,
    marks: &[Mark],
    candidates: &mut Vec<Candidate>,
) -> Result<()> {
    // By binary search: a text may have as many pieces as marks, so looking through all marks for each piece would take
    // quadratic time.
    let marks_before = |offset: usize| marks.partition_point(|(mark, _)| mark.start < offset);
    for range in pieces {
        let within = marks_before(range.start)..marks_before(range.end);
        let piece_marks = marks.get(within.clone());
        let piece_marks =
            piece_marks.ok_or_else(|| Error::internal("a piece of a text ends before it begins"))?;
        let mut words = HashSet::new();
        let mut count = 0;
        for (_, number) in piece_marks.iter().filter(|(mark, _)| mark.end <= range.end) {
            words.insert(*number);
            count += 1;
        }
        if count > 0 {
            candidates.push(Candidate { element, range, words: words.len(), count, marks: within });
        }
    }
    Ok(())
}

/// The fragment of a candidate, in the unit of `counter`.
pub(super) fn make_fragment(
    candidate: &Candidate,
    text: &str,
    marks: &[Mark],
    counter: &mut OffsetCounter<'_>,
) -> Result<Fragment> {
    let Candidate { element, range, .. } = candidate;
    let matches = join_overlapping(marks.iter().filter(|(mark, _)| mark.end <= range.end));
    // The counter only moves forward: the start, then the matches in their order, then the end.
    let start = counter.advance_to(range.start)?;
    let mut to_relative = |range: Range<usize>| -> Result<Range<usize>> {
        Ok(counter.advance_to(range.start)? - start..counter.advance_to(range.end)? - start)
    };
    let matches = matches.into_iter().map(&mut to_relative).collect::<Result<_>>()?;
    let piece = text.get(range.clone()).ok_or_else(not_a_boundary)?.to_owned();
    Ok(Fragment { text: piece, element: *element, range: start..counter.advance_to(range.end)?, matches })
}

/// The ranges of marks, with those that overlap joined, as neighbouring n-grams do.
fn join_overlapping<'a>(marks: impl Iterator<Item = &'a Mark>) -> Vec<Range<usize>> {
    let mut joined: Vec<Range<usize>> = Vec::new();
    for (mark, _) in marks {
        match joined.last_mut() {
            Some(last) if mark.start < last.end => last.end = last.end.max(mark.end),
            _ => joined.push(mark.clone()),
        }
    }
    joined
}

/// The ranges of the pieces of a text, ascending and without surrounding white space.
pub(super) fn split_text(text: &str, by: FragmentBy, marks: &[Mark]) -> Result<Vec<Range<usize>>> {
    let pieces = match by {
        FragmentBy::Whole => {
            let whole = 0..text.len();
            return Ok(vec![whole]);
        }
        FragmentBy::Word => return Ok(join_overlapping(marks.iter())),
        FragmentBy::Paragraph => split_paragraphs(text),
        FragmentBy::Sentence => split_sentences(text),
    };
    let trim = |piece: Range<usize>| {
        let untrimmed = text.get(piece.clone()).ok_or_else(not_a_boundary)?;
        let start = piece.start + untrimmed.len() - untrimmed.trim_start().len();
        Ok(start..start + untrimmed.trim().len())
    };
    pieces.into_iter().map(trim).collect()
}

fn split_sentences(text: &str) -> Vec<Range<usize>> {
    // Simpler than the sentences of Unicode (UAX 29) on purpose: a preview that ends at an abbreviation is still
    // readable, and their rules need tables for every character.
    let (mut pieces, mut start, mut before) = (Vec::new(), 0, ' ');
    for (offset, c) in text.char_indices() {
        let ends_anywhere = matches!(before, '\n' | '。' | '！' | '？');
        // A point inside of a number or a name does not end a sentence.
        let ends_before_space = matches!(before, '.' | '!' | '?' | '…') && c.is_whitespace();
        if ends_anywhere || ends_before_space {
            pieces.push(start..offset);
            start = offset;
        }
        before = c;
    }
    pieces.push(start..text.len());
    pieces
}

fn split_paragraphs(text: &str) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut is_line_empty) = (Vec::new(), 0, false);
    for (offset, c) in text.char_indices() {
        if c == '\n' && is_line_empty {
            pieces.push(start..offset);
            start = offset;
        }
        // A line of nothing but white space is empty too: editors leave some behind.
        is_line_empty = c == '\n' || (is_line_empty && c.is_whitespace());
    }
    pieces.push(start..text.len());
    pieces
}

#[cold]
fn not_a_boundary() -> Error {
    Error::internal("a piece of a text splits a character")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, by: FragmentBy) -> Vec<&str> {
        split_text(text, by, &[])
            .unwrap()
            .into_iter()
            .map(|piece| &text[piece])
            .filter(|piece| !piece.is_empty())
            .collect()
    }

    #[test]
    fn texts_are_cut_where_sentences_and_paragraphs_end() {
        let text = "It is 3.5 m. Really?! Yes…  so\nline\n\n  东京。京都！ok ";
        let sentences = ["It is 3.5 m.", "Really?!", "Yes…", "so", "line", "东京。", "京都！", "ok"];
        assert_eq!(split(text, FragmentBy::Sentence), sentences);
        let paragraphs = ["It is 3.5 m. Really?! Yes…  so\nline", "东京。京都！ok"];
        assert_eq!(split(text, FragmentBy::Paragraph), paragraphs);
        assert_eq!(split("a\n \nb", FragmentBy::Paragraph), ["a", "b"]);
    }
}
