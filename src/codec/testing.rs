//! Checksums of changed objects made right again, as somebody who forges one would.

use super::checksum;

/// Gives an object that ends with the checksum of all before it the right one.
pub(crate) fn seal_trailer(object: &mut [u8]) {
    if let Some((body, trailer)) = object.split_last_chunk_mut() {
        *trailer = checksum(body).to_le_bytes();
    }
}

/// Gives framed JSON the right length and checksum.
pub(crate) fn seal_frame(object: &mut Vec<u8>) {
    let Some(line_end) = object.iter().position(|byte| *byte == b'\n') else { return };
    let (line, json) = (String::from_utf8_lossy(&object[..line_end]), &object[line_end + 1..]);
    let words: Vec<&str> = line.split(' ').take(3).collect();
    let line = format!("{} {} {:016x}", words.join(" "), json.len(), checksum(json));
    object.splice(..line_end, line.into_bytes());
}
