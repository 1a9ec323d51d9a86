//! Hostile bytes: every decoder is fed with inputs that nobody wrote.
//!
//! A decoder has a [`FuzzTarget`] in a test beside it, in a file `fuzz`. It takes seeds, sound inputs that the test makes
//! by the encoder, and changes them at random ([`mutator`]). An input whose checksums no longer hold shows that damage is
//! noticed, and ends there. So a target may *seal* its inputs, which makes their checksums right again: only then does the
//! parser behind them see what was changed, as it does when somebody forges an object.
//!
//! A target holds what is promised of every decoder: it does not panic, it ends, and it allocates no more than a stated
//! multiple of its input ([`FuzzTarget::memory`]). What the decoder answers is its own business; a target may assert more.
//!
//! `cargo test` runs each target on a few thousand inputs, the same ones each time, and on the files of its folder in
//! `tests/corpus`: inputs that once failed. `CONTRIBUTING.md` says how to run one for longer.

mod attempt;
mod inline;
mod json;
mod mutator;
mod parts;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use inline::{block_on, inline_env};
pub(crate) use parts::{join_parts, split_parts};
pub(crate) use target::FuzzTarget;
