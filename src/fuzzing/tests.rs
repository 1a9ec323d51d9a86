//! That targets catch what they promise to catch.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::FuzzTarget;

/// What a target says of a decoder.
fn verdict(run: impl FnOnce()) -> Result<(), String> {
    let caught = catch_unwind(AssertUnwindSafe(run));
    caught.map_err(|panic| panic.downcast_ref::<String>().cloned().expect("a message"))
}

fn target() -> FuzzTarget {
    FuzzTarget::new("harness", [b"length: \x04\0\0\0abcd".to_vec()]).memory(4, 1 << 10)
}

/// The bytes behind a length, as long as it says.
fn split_length(input: &[u8]) -> Result<(usize, &[u8]), &'static str> {
    let rest = input.strip_prefix(b"length: ").ok_or("no prefix")?;
    let (length, rest) = rest.split_first_chunk().ok_or("no length")?;
    Ok((usize::try_from(u32::from_le_bytes(*length)).map_err(|_| "too long")?, rest))
}

#[test]
fn a_careful_decoder_passes() {
    let careful = |input: &[u8]| {
        let (length, rest) = split_length(input)?;
        rest.get(..length).map(<[u8]>::to_vec).ok_or("cut")
    };
    assert_eq!(verdict(|| target().run(careful)), Ok(()));
}

#[test]
fn a_panic_an_allocation_and_a_seed_that_is_refused_are_caught() {
    let indexes = |input: &[u8]| split_length(input).map(|(length, rest)| rest[..length].to_vec());
    let why = verdict(|| target().run(indexes)).unwrap_err();
    assert!(why.contains("out of range") && why.contains("tests/corpus/harness"), "{why}");
    let trusts =
        |input: &[u8]| split_length(input).map(|(length, _)| Vec::<u8>::with_capacity(length & 0xff_ffff));
    let why = verdict(|| target().run(trusts)).unwrap_err();
    assert!(why.contains("bytes of memory, at most"), "{why}");
    let why = verdict(|| target().run(|_| Err::<(), _>("never"))).unwrap_err();
    assert!(why.contains("does not accept seed 0"), "{why}");
}

#[test]
fn a_parser_behind_a_checksum_is_reached_by_sealed_inputs() {
    let seal = |input: &mut Vec<u8>| {
        let sum = input.iter().skip(1).fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
        if let Some(first) = input.first_mut() {
            *first = sum;
        }
    };
    let decode = |input: &[u8]| {
        let mut sealed = input.to_vec();
        seal(&mut sealed);
        assert!(sealed != input || input.len() != 3, "reached");
        if sealed == input { Ok(()) } else { Err("a wrong checksum") }
    };
    let mut seed = b"_abcdefgh".to_vec();
    seal(&mut seed);
    let why = verdict(|| FuzzTarget::new("harness", [seed]).run_sealed(seal, decode)).unwrap_err();
    assert!(why.contains("reached") && why.contains("sealed: true"), "{why}");
}

#[test]
fn the_same_seed_makes_the_same_inputs() {
    let inputs = || {
        let mut mutator = super::mutator::Mutator::new(7, &["word"], false);
        (0..50).map(|_| mutator.next_input(&[b"a b 12 c".to_vec()], &[b"word".to_vec()])).collect::<Vec<_>>()
    };
    assert_eq!(inputs(), inputs());
    assert!(inputs().windows(2).any(|pair| pair[0] != pair[1]));
}
