//! Hostile cursors.

use super::QueryCursor;
use super::root::ScanCursor;
use crate::error::Result;
use crate::fuzzing::FuzzTarget;

#[test]
fn fuzz_cursor() {
    let seeds = ["n:7", "u:00000000-0000-0000-0000-000000000009", "s:a:b é"];
    FuzzTarget::new("cursor", seeds)
        .words(&["n:", "u:", "s:", "18446744073709551615"])
        .memory(4, 4 << 10)
        .run(|input| -> Result<()> {
            let cursor: ScanCursor = String::from_utf8_lossy(input).parse()?;
            assert_eq!(cursor.to_string().parse::<ScanCursor>()?, cursor);
            Ok(())
        });
}

#[test]
fn fuzz_query_cursor() {
    let seeds = ["q", "q.n7.nffffffffffffffff", "q.u00000000000000000000000000000009", "q.s612e6220c3a9.s78"];
    // A short id is a few bytes of text, and one of an enum in memory.
    FuzzTarget::new("query_cursor", seeds).words(&[".n7", ".u", ".s", "61", "q"]).memory(48, 64 << 10).run(
        |input| -> Result<()> {
            let cursor: QueryCursor = String::from_utf8_lossy(input).parse()?;
            assert_eq!(cursor.to_string().parse::<QueryCursor>()?, cursor);
            Ok(())
        },
    );
}
