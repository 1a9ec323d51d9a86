//! tantivy's variable-length integers.

/// Reads the integer at the start of `bytes`. Returns it with the bytes behind it; `None` if it does not end.
///
/// Each byte holds seven bits, the lowest first; the last byte has its high bit set. (LEB128 sets it in all others.)
pub(super) fn read_vint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    // Nine bytes hold 63 bits. tantivy stores no larger number here, and a tenth byte would overflow the shift.
    for (length, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * length);
        if byte & 0x80 != 0 {
            return Some((number, bytes.get(length + 1..)?));
        }
    }
    None
}
