//! A decoder as a target: its seeds, what it may allocate, and the loop over inputs.

use std::collections::HashSet;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::attempt::{Outcome, Watchdog, attempt, save_input};
use super::mutator::Mutator;

/// Runs each target for this many seconds, on inputs of a new seed.
const SECONDS: &str = "ELACSYM_FUZZ_SECONDS";
/// The seed of the inputs.
const SEED: &str = "ELACSYM_FUZZ_SEED";
/// The inputs of a target in an ordinary run: together with those of all targets, they take some seconds.
const INPUTS: u32 = 3_000;
/// Of a target that seals its inputs, one in this many is fed as it is: nearly all of them fail by their checksum.
const RAW_EVERY: u64 = 8;
/// Inputs that are kept to be changed further, of those that were accepted and of those that were not.
const POOL_MAX: usize = 512;
/// How often a failing input is tried to be made shorter.
const CUTS_MAX: usize = 2_000;

/// What every JSON is made of.
const JSON: [&str; 14] =
    ["null", "true", "{", "}", "[", "]", "{}", "[]", "\"", "\"\"", ",", ":", "-1", "18446744073709551615"];

/// Makes the checksums of an input right.
type Seal<'a> = &'a dyn Fn(&mut Vec<u8>);

/// What a decoder may hold at a time.
#[derive(Clone, Copy, Debug)]
struct MemoryLimit {
    /// Bytes for each byte of input.
    per_byte: u64,
    /// Bytes whatever the input.
    fixed: u64,
}

impl MemoryLimit {
    /// What no decoder exceeds.
    const DEFAULT: Self = Self { per_byte: 8, fixed: 16 << 20 };

    fn bytes(self, input: &[u8]) -> u64 {
        self.per_byte * input.len() as u64 + self.fixed
    }
}

/// A decoder under attack.
#[derive(Debug)]
pub(crate) struct FuzzTarget {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    words: Vec<&'static str>,
    is_json: bool,
    memory: MemoryLimit,
    inputs: u32,
}

impl FuzzTarget {
    /// A target by the name of its folder in `tests/corpus`. Its decoder must accept the seeds.
    pub(crate) fn new(name: &'static str, seeds: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Self {
        let seeds: Vec<_> = seeds.into_iter().map(Into::into).collect();
        assert!(!seeds.is_empty(), "a target without seeds tests nothing");
        Self { name, seeds, words: Vec::new(), is_json: false, memory: MemoryLimit::DEFAULT, inputs: INPUTS }
    }

    /// Words that mean something to the decoder. Inputs are texts.
    pub(crate) fn words(mut self, words: &[&'static str]) -> Self {
        self.words.extend(words);
        self
    }

    /// Words that mean something to the decoder. Inputs are JSON.
    pub(crate) fn json_words(self, words: &[&'static str]) -> Self {
        Self { is_json: true, ..self.words(&JSON).words(words) }
    }

    /// Allows `per_byte` bytes of memory for each byte of input, and `fixed` more.
    pub(crate) fn memory(self, per_byte: u64, fixed: u64) -> Self {
        Self { memory: MemoryLimit { per_byte, fixed }, ..self }
    }

    /// Another number of inputs, for a decoder that is slower or faster than most.
    pub(crate) fn inputs(self, inputs: u32) -> Self {
        Self { inputs, ..self }
    }

    /// Feeds the decoder with inputs as they are.
    pub(crate) fn run<T, E: Display>(self, decode: impl Fn(&[u8]) -> Result<T, E>) {
        self.feed(None, &decode);
    }

    /// Feeds the decoder with inputs as they are, and with inputs whose checksums `seal` has made right.
    pub(crate) fn run_sealed<T, E: Display>(
        self,
        seal: impl Fn(&mut Vec<u8>),
        decode: impl Fn(&[u8]) -> Result<T, E>,
    ) {
        self.feed(Some(&seal), &decode);
    }

    fn feed<T, E: Display>(self, seal: Option<Seal<'_>>, decode: &dyn Fn(&[u8]) -> Result<T, E>) {
        let session = Session { target: &self, seal, decode, watchdog: Watchdog::new(self.name) };
        session.check_seeds();
        for path in self.corpus() {
            let input = std::fs::read(&path).expect("a file of the corpus");
            let _ = (session.check(&input, false), session.check(&input, true));
        }
        session.check_mutants();
    }

    /// The files of inputs that once failed.
    fn corpus(&self) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(self.name);
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut files: Vec<_> = entries.map(|entry| entry.expect("a file of the corpus").path()).collect();
        files.sort();
        files
    }
}

/// A run of a target.
struct Session<'a, T, E> {
    target: &'a FuzzTarget,
    seal: Option<Seal<'a>>,
    decode: &'a dyn Fn(&[u8]) -> Result<T, E>,
    watchdog: Watchdog,
}

impl<T, E: Display> Session<'_, T, E> {
    /// Seeds that are no longer accepted would leave the decoder untested without anybody noticing.
    fn check_seeds(&self) {
        let name = self.target.name;
        for (number, seed) in self.target.seeds.iter().enumerate() {
            let sealed = self.sealed(seed, true);
            assert!(sealed == *seed, "`{name}` seals seed {number}, which is sound, to something else");
            let answer = self.check(seed, false);
            assert_eq!(answer, Ok(()), "`{name}` does not accept seed {number}");
        }
    }

    fn check_mutants(&self) {
        let target = self.target;
        let seconds: Option<u64> = number_of(SECONDS);
        // Whoever asks for more time wants other inputs than those of every run.
        let since_1970 = SystemTime::UNIX_EPOCH.elapsed().expect("a clock behind 1970").as_secs();
        let seed = number_of(SEED).unwrap_or(if seconds.is_some() { since_1970 } else { 0 });
        let mut mutator = Mutator::new(seed, &target.words, target.is_json);
        let (mut sound, mut refused) = (target.seeds.clone(), Vec::new());
        let mut answers = HashSet::new();
        let end = seconds.map(Duration::from_secs);
        #[expect(clippy::disallowed_methods, reason = "how long a person asked for")]
        let start = std::time::Instant::now();
        let (mut number, mut accepted) = (0_u64, 0_u64);
        while end.map_or(number < u64::from(target.inputs), |end| start.elapsed() < end) {
            number += 1;
            let input = mutator.next_input(&sound, &refused);
            let answer = self.check(&input, self.seal.is_some() && !number.is_multiple_of(RAW_EVERY));
            let Err(why) = answer else {
                accepted += 1;
                if sound.len() < POOL_MAX {
                    sound.push(input);
                }
                continue;
            };
            // A new error is a place in the decoder that no input has reached before. From there others are reached.
            if answers.insert(why.replace(|c: char| c.is_ascii_digit(), "")) && refused.len() < POOL_MAX {
                refused.push(input);
            }
        }
        if end.is_some() {
            // Few errors would mean that inputs do not get past the first checks.
            let (name, errors) = (target.name, answers.len());
            // Past the capture of the test harness, as whoever runs a target for long reads it.
            let _ = writeln!(
                std::io::stderr(),
                "`{name}`: {number} inputs of seed {seed}, {accepted} accepted, {errors} errors"
            );
        }
    }

    /// Feeds an input to the decoder. Returns its answer, if it did nothing that is forbidden.
    fn check(&self, input: &[u8], is_sealed: bool) -> Result<(), String> {
        let outcome = self.attempt(input, is_sealed);
        if let Some(fault) = self.fault(input, &outcome) {
            let shorter = self.shorten(input.to_vec(), is_sealed);
            let (name, path) = (self.target.name, save_input(self.target.name, &shorter));
            panic!(
                "`{name}`: {fault}\ninput of {} bytes, sealed: {is_sealed}, saved as {}\nwhen it is repaired, keep the \
                 input: mkdir -p tests/corpus/{name} && cp {} tests/corpus/{name}/",
                shorter.len(),
                path.display(),
                path.display()
            );
        }
        outcome.answer
    }

    fn attempt(&self, input: &[u8], is_sealed: bool) -> Outcome {
        let input = self.sealed(input, is_sealed);
        self.watchdog.begin(&input);
        attempt(&input, self.decode)
    }

    fn sealed(&self, input: &[u8], is_sealed: bool) -> Vec<u8> {
        let mut input = input.to_vec();
        if let Some(seal) = self.seal.filter(|_| is_sealed) {
            seal(&mut input);
        }
        input
    }

    /// What an outcome shows that must not be.
    fn fault(&self, input: &[u8], outcome: &Outcome) -> Option<String> {
        if let Some(panic) = &outcome.panic {
            return Some(panic.clone());
        }
        let max = self.target.memory.bytes(input);
        (outcome.peak_bytes > max).then(|| format!("{} bytes of memory, at most {max}", outcome.peak_bytes))
    }

    /// Cuts a failing input down as long as it fails.
    fn shorten(&self, mut input: Vec<u8>, is_sealed: bool) -> Vec<u8> {
        let (mut cuts, mut length) = (0, input.len().div_ceil(2));
        while length > 0 {
            let mut at = 0;
            while at < input.len() && cuts < CUTS_MAX {
                let mut shorter = input.clone();
                shorter.drain(at..(at + length).min(input.len()));
                cuts += 1;
                if self.fault(&shorter, &self.attempt(&shorter, is_sealed)).is_some() {
                    input = shorter;
                } else {
                    at += length;
                }
            }
            length /= 2;
        }
        input
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}=`{text}` is no number")))
}
