//! Several byte strings as one input, for decoders that take more than one.

/// Joins parts to an input. Every part but the last has its length in front.
pub(crate) fn join_parts<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    let mut input = Vec::new();
    for (number, part) in parts.into_iter().enumerate() {
        if number + 1 < N {
            input.extend(u32::try_from(part.len()).expect("a short part").to_le_bytes());
        }
        input.extend(part);
    }
    input
}

/// The parts of an input, whatever it holds: a length beyond its end takes all there is.
pub(crate) fn split_parts<const N: usize>(mut input: &[u8]) -> [&[u8]; N] {
    let mut parts = [&[][..]; N];
    for (number, part) in parts.iter_mut().enumerate() {
        let length = input.split_first_chunk().filter(|_| number + 1 < N);
        let (length, rest) = match length {
            Some((length, rest)) => (u32::from_le_bytes(*length) as usize, rest),
            None => (input.len(), input),
        };
        (*part, input) = rest.split_at(length.min(rest.len()));
    }
    parts
}
