//! Cutting text into words.
//!
//! A word is a run of letters and digits with the marks upon them. Characters of scripts that put no spaces
//! between words are a token each.

use std::str::CharIndices;
use std::sync::LazyLock;

use regex::Regex;
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Combining marks: the standard library does not tell them from punctuation.
static MARK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{M}$").ok());

/// Cuts text into words.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    token: Token,
}

/// The words of a text.
#[derive(Debug)]
pub(super) struct WordStream<'a> {
    text: &'a str,
    chars: std::iter::Peekable<CharIndices<'a>>,
    token: &'a mut Token,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Part of a word.
    Word,
    /// A word by itself.
    Single,
    /// Upon the character before it.
    Mark,
    Other,
}

fn kind(c: char) -> Kind {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { Kind::Word } else { Kind::Other };
    }
    match c {
        // Hiragana, Han, Thai, Lao, Myanmar, Khmer: no spaces part their words.
        '\u{3041}'..='\u{309F}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{323AF}' => Kind::Single,
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
            if c.is_alphanumeric() && !is_mark(c) =>
        {
            Kind::Single
        }
        _ if is_mark(c) => Kind::Mark,
        _ if c.is_alphanumeric() => Kind::Word,
        _ => Kind::Other,
    }
}

fn is_mark(c: char) -> bool {
    // No mark lies below.
    c >= '\u{300}' && MARK.as_ref().is_some_and(|mark| mark.is_match(c.encode_utf8(&mut [0; 4])))
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, chars: text.char_indices().peekable(), token: &mut self.token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some((start, first)) = self.chars.by_ref().find_map(|(at, c)| match kind(c) {
            kind @ (Kind::Word | Kind::Single) => Some((at, kind)),
            Kind::Mark | Kind::Other => None,
        }) else {
            return false;
        };
        while let Some((_, c)) = self.chars.peek() {
            match (first, kind(*c)) {
                (Kind::Word, Kind::Word) | (_, Kind::Mark) => self.chars.next(),
                _ => break,
            };
        }
        let end = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        self.token.text.clear();
        self.token.text.push_str(self.text.get(start..end).unwrap_or_default());
        self.token.position = self.token.position.wrapping_add(1);
        self.token.offset_from = start;
        self.token.offset_to = end;
        true
    }

    fn token(&self) -> &Token {
        self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        Words::default().token_stream(text).process(&mut |token| {
            assert_eq!(token.text, text[token.offset_from..token.offset_to]);
            assert_eq!(token.position, words.len());
            words.push(token.text.clone());
        });
        words
    }

    #[test]
    fn text_is_cut_where_words_are_parted() {
        assert_eq!(words("The quick-brown fox, 42!"), ["The", "quick", "brown", "fox", "42"]);
        assert_eq!(words("O'Neil's don\u{2019}t"), ["O", "Neil", "s", "don", "t"]);
        assert_eq!(words("e\u{301}te\u{301} über"), ["e\u{301}te\u{301}", "über"]);
        assert_eq!(words("東京タワーへ go"), ["東", "京", "タワー", "へ", "go"]);
        assert_eq!(words("தமிழ்மொழி நல்ல"), ["தமிழ்மொழி", "நல்ல"]);
        assert_eq!(words("हिन्दी भाषा"), ["हिन्दी", "भाषा"]);
        assert_eq!(words("\u{301} 👩‍👩‍👧 !?"), [""; 0]);
    }
}
