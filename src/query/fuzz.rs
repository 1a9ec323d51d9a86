//! Hostile cursors and queries.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::QueryCursor;
use super::root::{Query, ScanCursor};
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

/// What is read is written again, in the same form.
fn read_and_write<T: Serialize + DeserializeOwned>(input: &[u8]) -> Result<(), serde_json::Error> {
    let read: T = serde_json::from_slice(input)?;
    let written = serde_json::to_string(&read).expect("what was read has a form");
    let again: T = serde_json::from_str(&written).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again).expect("what was read has a form"), written);
    Ok(())
}

#[test]
fn fuzz_query_json() {
    let seeds = [
        r#"{"legs":[{"nearest":{"column":"v","vector":[0.1,-2],"recall":0.9},"depth":20,"filter":["a","Eq",1]}]}"#,
        r#"{"legs":[{"text":{"without":{"query":{"any":"a b","in":["a",["b",2]]},"not":{"phrase":"c","in":"d","slop":1}}}},{"order_by":[{"desc":"a","nulls_first":true}]}],"fuse":"z_score","after":"q.n7","limit_per":{"columns":["a"],"limit":1}}"#,
        r#"{"legs":[{"text":{"ranked":{"query":{"boost":{"query":{"all_of":["everything"]},"factor":2}},"rank":{"sum":[1,{"decay":{"rank":{"distance":{"column":"a","origin":1}},"midpoint":1,"exponent":2}}]},"combine":"max"}}}],"select":{"except":["a"]},"timeout_ms":5,"partial":true}"#,
        r#"{"legs":[{"nearest":{"column":"v","vector":{"i8":[1,-1]},"probes":3}}],"rescore":[{"nearest":{"column":"w","vector":{"f16":[1]}},"depth":9}],"compute":[{"name":"m","highlight":{"column":"a","query":{"any":["b"],"in":"a"},"by":"word","offsets":"utf16"}}],"facets":[{"name":"f","aggregation":{"group_by":["a",{"elements":"b"}],"aggregates":[{"name":"s","sum":"c"}]}}]}"#,
    ];
    FuzzTarget::new("query_json", seeds)
        .json_words(&["legs", "text", "nearest", "any_of", "rank", "everything", "$new", "Not", "And"])
        // A field is a node of a map, of some hundred bytes.
        .memory(400, 64 << 10)
        .run(read_and_write::<Query>);
}
