//! 64 bits in JSON as sixteen hexadecimal digits: JSON readers that know only doubles would round a number. For
//! `serde(with)`.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn serialize<S: Serializer>(bits: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{bits:016x}"))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let bits = digits.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
    bits.ok_or_else(|| D::Error::custom("not 16 hexadecimal digits"))
}
