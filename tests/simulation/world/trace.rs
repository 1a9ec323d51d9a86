//! A rolling hash over all that happened: equal traces mean equal histories.

/// FNV-1a over whatever is fed.
#[derive(Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Trace {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn feed_number(&mut self, number: u64) {
        self.feed(&number.to_le_bytes());
    }

    pub(super) fn sum(&self) -> u64 {
        self.0
    }
}
