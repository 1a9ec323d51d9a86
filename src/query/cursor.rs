//! Where a scan goes on.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::{Error, Result};
use crate::types::{DocumentId, ID_BYTES_MAX};

/// A place in a scan: right after a document. As text it can be handed to another process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(DocumentId);

impl Cursor {
    /// Right after the document of this id, whether or not it exists.
    pub fn after(id: impl Into<DocumentId>) -> Self {
        Self(id.into())
    }

    pub(crate) fn id(&self) -> &DocumentId {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            DocumentId::U64(_) => 'n',
            DocumentId::Uuid(_) => 'u',
            DocumentId::String(_) => 's',
        };
        write!(f, "{kind}:{}", self.0)
    }
}

impl FromStr for Cursor {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_from_its_text() {
        let ids: [DocumentId; 3] = [7.into(), Uuid::from_u128(9).into(), "a:b é".into()];
        for id in ids {
            let cursor = Cursor::after(id);
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for text in ["", "7", "x:7", "n:-1", "u:zz"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
