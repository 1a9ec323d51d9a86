//! Splits tokens that are too long, in documents and queries alike, so that any text that was written can be found.

use std::fmt;

use tantivy::tokenizer::{Token, TokenFilter, TokenStream, Tokenizer};

/// A tantivy filter that splits tokens of more than `max_bytes` bytes.
///
/// tantivy's `RemoveLongFilter` drops such tokens instead: a long URL or hash would then be in no index. The tokenizer
/// below must yield unmodified pieces of the text, and number each token one above the token before it.
#[derive(Clone, Debug)]
pub(super) struct LongTokenSplitter {
    pub(super) max_bytes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct SplittingTokenizer<T> {
    max_bytes: usize,
    inner: T,
}

/// The tokens of a text, the long ones in pieces.
pub(super) struct SplitTokenStream<T> {
    max_bytes: usize,
    inner: T,
    /// The token that is being split, and the offset of its next piece.
    long_token: String,
    piece_start: usize,
}

impl TokenFilter for LongTokenSplitter {
    type Tokenizer<T: Tokenizer> = SplittingTokenizer<T>;

    fn transform<T: Tokenizer>(self, inner: T) -> SplittingTokenizer<T> {
        SplittingTokenizer { max_bytes: self.max_bytes, inner }
    }
}

impl<T: Tokenizer> Tokenizer for SplittingTokenizer<T> {
    type TokenStream<'a> = SplitTokenStream<T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        let inner = self.inner.token_stream(text);
        SplitTokenStream { max_bytes: self.max_bytes, inner, long_token: String::new(), piece_start: 0 }
    }
}

impl<T: TokenStream> TokenStream for SplitTokenStream<T> {
    fn advance(&mut self) -> bool {
        if self.piece_start < self.long_token.len() {
            // The word tokenizer increments the position of the token it finds in its buffer. What is added here for
            // a piece therefore carries over to all tokens behind it.
            let token = self.inner.token_mut();
            token.position = token.position.wrapping_add(1);
        } else {
            if !self.inner.advance() {
                return false;
            }
            let token = self.inner.token_mut();
            if token.text.len() <= self.max_bytes {
                return true;
            }
            self.long_token = std::mem::take(&mut token.text);
            self.piece_start = 0;
            token.offset_to = token.offset_from;
        }
        let (_, unsplit) = self.long_token.split_at(self.piece_start);
        // invariant: an empty remainder has no character and takes no byte; a first character wider than the limit
        // is a piece of its own, or the loop would never move on.
        let first_character = unsplit.chars().next().map_or(0, char::len_utf8);
        let piece_bytes = unsplit.floor_char_boundary(self.max_bytes).max(first_character);
        let (piece, _) = unsplit.split_at(piece_bytes);
        let token = self.inner.token_mut();
        token.text.clear();
        token.text.push_str(piece);
        token.offset_from = token.offset_to;
        token.offset_to += piece_bytes;
        self.piece_start += piece_bytes;
        true
    }

    fn token(&self) -> &Token {
        self.inner.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.inner.token_mut()
    }
}

impl<T> fmt::Debug for SplitTokenStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SplitTokenStream(max {} bytes)", self.max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use tantivy::tokenizer::{TextAnalyzer, WhitespaceTokenizer};

    use super::*;

    #[test]
    fn long_tokens_are_cut_between_characters() {
        let cut = |text: &str, max_bytes| {
            let mut analyzer = TextAnalyzer::builder(WhitespaceTokenizer::default())
                .filter(LongTokenSplitter { max_bytes })
                .build();
            let mut pieces = Vec::new();
            analyzer.token_stream(text).process(&mut |token| {
                assert_eq!(text[token.offset_from..token.offset_to], token.text);
                assert_eq!(token.position, pieces.len());
                pieces.push(token.text.clone());
            });
            pieces
        };
        assert_eq!(cut("ab abcdefg abc x", 3), ["ab", "abc", "def", "g", "abc", "x"]);
        assert_eq!(cut("aéé 東京 x", 3), ["aé", "é", "東", "京", "x"]);
        assert_eq!(cut("東京", 1), ["東", "京"]);
        assert_eq!(cut("", 1), [""; 0]);
    }
}
