//! Choosing the kernels for the processor at hand.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::kernel_set::Kernels;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable;

/// The fastest kernels of this processor.
// A table of function pointers, filled once: features are not detected again for every block, and the crate needs no build
// for each processor.
pub(crate) fn kernels() -> &'static Kernels {
    static CHOSEN: OnceLock<&'static Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        // invariant: without vector registers that we know of, the portable kernels are the fastest.
        specialised_kernels().last().unwrap_or(&portable::KERNELS)
    })
}

/// All kernels that this processor can run, the fastest last.
#[cfg(any(test, feature = "testing"))]
pub(super) fn supported_kernels() -> Vec<&'static Kernels> {
    std::iter::once(&portable::KERNELS).chain(specialised_kernels()).collect()
}

/// The kernels for vector registers that this processor has, the fastest last.
fn specialised_kernels() -> impl Iterator<Item = &'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let detected = [avx2::detect(), avx512::detect()];
    #[cfg(target_arch = "aarch64")]
    let detected = [neon::detect()];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let detected: [Option<&'static Kernels>; 0] = [];
    detected.into_iter().flatten()
}

/// Prefetches bytes that will be read soon. A hint: it changes nothing but time.
pub(crate) fn prefetch(bytes: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    for line in bytes.chunks(64) {
        avx2::prefetch_line(line);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bytes;
}
