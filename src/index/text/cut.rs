//! Words that are too long, cut into pieces: in documents and in queries alike, so that what was written can be found.

use std::fmt;

use tantivy::tokenizer::{Token, TokenFilter, TokenStream, Tokenizer};

/// Cuts tokens of more than so many bytes. The tokens must be pieces of the text as it is, and the tokenizer must
/// count their positions on from that of the last.
#[derive(Clone, Debug)]
pub(super) struct CutLong {
    pub(super) most: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Cut<T> {
    most: usize,
    inner: T,
}

/// The tokens of a text, the long ones in pieces.
pub(super) struct Pieces<T> {
    most: usize,
    tail: T,
    /// The token that is being cut, and where its next piece begins.
    long: String,
    at: usize,
}

impl TokenFilter for CutLong {
    type Tokenizer<T: Tokenizer> = Cut<T>;

    fn transform<T: Tokenizer>(self, inner: T) -> Cut<T> {
        Cut { most: self.most, inner }
    }
}

impl<T: Tokenizer> Tokenizer for Cut<T> {
    type TokenStream<'a> = Pieces<T::TokenStream<'a>>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Self::TokenStream<'a> {
        Pieces { most: self.most, tail: self.inner.token_stream(text), long: String::new(), at: 0 }
    }
}

impl<T: TokenStream> TokenStream for Pieces<T> {
    fn advance(&mut self) -> bool {
        if self.at < self.long.len() {
            let token = self.tail.token_mut();
            token.position = token.position.wrapping_add(1);
        } else {
            if !self.tail.advance() {
                return false;
            }
            let token = self.tail.token_mut();
            if token.text.len() <= self.most {
                return true;
            }
            self.long = std::mem::take(&mut token.text);
            self.at = 0;
            token.offset_to = token.offset_from;
        }
        let rest = self.long.get(self.at..).unwrap_or_default();
        let character = rest.chars().next().map_or(rest.len(), char::len_utf8);
        let end = rest.floor_char_boundary(self.most).max(character);
        let token = self.tail.token_mut();
        token.text.clear();
        token.text.push_str(rest.get(..end).unwrap_or_default());
        token.offset_from = token.offset_to;
        token.offset_to += end;
        self.at += end;
        true
    }

    fn token(&self) -> &Token {
        self.tail.token()
    }

    fn token_mut(&mut self) -> &mut Token {
        self.tail.token_mut()
    }
}

impl<T> fmt::Debug for Pieces<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pieces(of at most {} bytes)", self.most)
    }
}

#[cfg(test)]
mod tests {
    use tantivy::tokenizer::{TextAnalyzer, WhitespaceTokenizer};

    use super::*;

    #[test]
    fn long_tokens_are_cut_between_characters() {
        let cut = |text: &str, most| {
            let mut analyzer =
                TextAnalyzer::builder(WhitespaceTokenizer::default()).filter(CutLong { most }).build();
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
