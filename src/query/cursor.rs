//! Cursors: where the next page of a scan or a query begins.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::types::{DocumentId, ID_BYTES_MAX};

/// A position in a scan: right after a document. Its text form can be passed to another process.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write([1, 2, 3].map(Document::new)).await?;
/// let page = docs.scan(Scan::new().limit(2)).await?;
/// let text = page.cursor.unwrap().to_string(); // to a browser, and back
/// let last = docs.scan(Scan::new().limit(2).after(text.parse::<ScanCursor>()?)).await?;
/// assert_eq!(last.rows.documents()?, [Document::new(3)]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanCursor(DocumentId);

impl ScanCursor {
    /// Right after the document of this id, whether or not it exists.
    pub fn after(id: impl Into<DocumentId>) -> Self {
        Self(id.into())
    }

    pub(crate) fn id(&self) -> &DocumentId {
        &self.0
    }
}

impl fmt::Display for ScanCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            DocumentId::U64(_) | DocumentId::Negative(_) => 'n',
            DocumentId::Uuid(_) => 'u',
            DocumentId::String(_) => 's',
        };
        write!(f, "{kind}:{}", self.0)
    }
}

impl FromStr for ScanCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let id = match text.split_once(':') {
            Some(("n", id)) => id.parse().ok().map(DocumentId::U64),
            Some(("u", id)) => Uuid::try_parse(id).ok().map(DocumentId::Uuid),
            Some(("s", id)) if id.len() <= ID_BYTES_MAX => Some(id.into()),
            _ => None,
        };
        id.map(Self).ok_or_else(|| Error::invalid("not a cursor of a scan"))
    }
}

/// The most ids of a cursor.
// A cursor names every document that was returned, since scores move with every write and a position in the ranking
// would repeat or skip hits. So it grows, to some megabytes at this many ids, and every page has to exclude them.
pub(super) const CURSOR_IDS_MAX: usize = 100_000;

/// A position in the hits of a query: after those that earlier pages returned. Its text form can be passed to a browser
/// and come back in another process.
///
/// It holds the ids of all hits so far, so that no document is returned twice even if others write in between. It grows
/// with the pages, up to 100,000 ids. To read more documents, use a [`Scan`](crate::Scan).
///
/// ```
/// use elacsym::query::QueryCursor;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> elacsym::Result<()> {
/// # use elacsym::*;
/// # let schema = Schema::builder(IdKind::U64).build()?;
/// # let docs = Database::open("memory://").await?.create_namespace("docs", schema).await?;
/// docs.write([1, 2, 3].map(Document::new)).await?;
/// let newest = Query::order_by([Order::desc("id")]).limit(2);
/// let page = docs.query(&newest).await?;
/// let text = page.cursor.unwrap().to_string(); // to a browser, and back
/// let last = docs.query(newest.after(text.parse::<QueryCursor>()?)).await?;
/// assert_eq!(last.rows.documents()?, [Document::new(1)]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryCursor(Vec<DocumentId>);

impl QueryCursor {
    pub(super) fn new(shown: Vec<DocumentId>) -> Self {
        Self(shown)
    }

    pub(super) fn shown_ids(&self) -> &[DocumentId] {
        &self.0
    }
}

impl fmt::Display for QueryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("q")?;
        for id in &self.0 {
            match id {
                DocumentId::U64(id) => write!(f, ".n{id:x}")?,
                // No hit has such an id. Its text is no cursor.
                DocumentId::Negative(id) => write!(f, ".n{id}")?,
                DocumentId::Uuid(id) => write!(f, ".u{}", id.simple())?,
                // In hexadecimal: an id may hold any character, the separator and what URLs reserve included.
                DocumentId::String(id) => {
                    f.write_str(".s")?;
                    id.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
            }
        }
        Ok(())
    }
}

impl FromStr for QueryCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let ids = text.strip_prefix('q').filter(|ids| ids.is_empty() || ids.starts_with('.'));
        let ids = ids.ok_or_else(|| Error::invalid("not a cursor of a query"))?;
        // Counted before anything is parsed: the text comes from outside, and each id would be an allocation.
        if ids.bytes().filter(|byte| *byte == b'.').count() > CURSOR_IDS_MAX {
            return Err(Error::limit(format!("a cursor of a query holds at most {CURSOR_IDS_MAX} ids")));
        }
        let ids: Option<Vec<DocumentId>> = ids.split('.').skip(1).map(parse_id).collect();
        ids.map(Self).ok_or_else(|| Error::invalid("not a cursor of a query"))
    }
}

/// Parses an id as [`QueryCursor`] formats it.
fn parse_id(text: &str) -> Option<DocumentId> {
    let mut chars = text.chars();
    let kind = chars.next()?;
    let id = chars.as_str();
    match kind {
        'n' => u64::from_str_radix(id, 16).ok().map(DocumentId::U64),
        'u' => Uuid::try_parse(id).ok().map(DocumentId::Uuid),
        's' if id.len() <= 2 * ID_BYTES_MAX && id.len().is_multiple_of(2) => {
            let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
            let bytes: Option<Vec<u8>> = id.as_bytes().chunks(2).map(byte).collect();
            String::from_utf8(bytes?).ok().map(|id| id.as_str().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_text() {
        let ids: [DocumentId; 3] = [7.into(), Uuid::from_u128(9).into(), "a:b é".into()];
        for id in ids {
            let cursor = ScanCursor::after(id);
            assert_eq!(cursor.to_string().parse::<ScanCursor>().unwrap(), cursor);
        }
        for text in ["", "7", "x:7", "n:-1", "u:zz"] {
            assert!(text.parse::<ScanCursor>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_cursor_of_a_query_reads_back_and_nothing_else_does() {
        let ids: [Vec<DocumentId>; 4] = [
            Vec::new(),
            vec![7.into(), u64::MAX.into()],
            vec![Uuid::from_u128(9).into()],
            vec!["a.b é".into(), "x".into()],
        ];
        for shown in ids {
            let cursor = QueryCursor::new(shown);
            assert_eq!(cursor.to_string().parse::<QueryCursor>().unwrap(), cursor);
        }
        let long = format!("q.s{}", "61".repeat(ID_BYTES_MAX + 1));
        for text in ["", "x", "n:1", "q.", "q.n", "q.s6", "q.sff", "q.szz", "q.nxx", "q.é", &long] {
            assert!(text.parse::<QueryCursor>().is_err(), "{text}");
        }
        let full = format!("q{}", ".n7".repeat(CURSOR_IDS_MAX));
        assert_eq!(full.parse::<QueryCursor>().unwrap().to_string(), full);
        let error = format!("{full}.n7").parse::<QueryCursor>().unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::LimitExceeded);
    }
}
