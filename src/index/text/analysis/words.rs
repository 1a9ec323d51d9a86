//! The default tokenizer: text into words.
//!
//! tantivy's `SimpleTokenizer` cuts at combining marks and keeps a whole sentence of Chinese as one token.
//!
//! A word is a run of letters and digits with their combining marks. Each character of a script that puts no spaces
//! between words is a token of its own.

use std::str::CharIndices;
use std::sync::LazyLock;

use regex::Regex;
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};

/// Combining marks: the standard library cannot tell them from punctuation.
static MARK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"^\p{M}$").ok());

/// Splits text into words.
///
/// tantivy's `SimpleTokenizer` splits at every character that is not alphanumeric, combining marks included: it takes
/// Devanagari and Tamil words, and decomposed accents, apart.
#[derive(Clone, Debug, Default)]
pub(super) struct WordTokenizer {
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
enum CharClass {
    /// Part of a word.
    Word,
    /// A word by itself.
    Single,
    /// Belongs to the character before it.
    Mark,
    Separator,
}

fn classify_char(c: char) -> CharClass {
    if c.is_ascii() {
        return if c.is_ascii_alphanumeric() { CharClass::Word } else { CharClass::Separator };
    }
    match c {
        // Hiragana and Han have no spaces between words. Splitting them well takes a dictionary; single characters
        // find every word, and a phrase of them finds just the word. Katakana runs mostly are one loanword each.
        '\u{3041}'..='\u{309F}'
        | '\u{3400}'..='\u{4DBF}'
        | '\u{4E00}'..='\u{9FFF}'
        | '\u{F900}'..='\u{FAFF}'
        | '\u{20000}'..='\u{323AF}' => CharClass::Single,
        // Thai, Lao and Myanmar likewise, but their vowel signs stay with the consonant that carries them.
        '\u{0E00}'..='\u{0EFF}' | '\u{1000}'..='\u{109F}' | '\u{1780}'..='\u{17FF}'
            if c.is_alphanumeric() && !is_mark(c) =>
        {
            CharClass::Single
        }
        _ if is_mark(c) => CharClass::Mark,
        _ if c.is_alphanumeric() => CharClass::Word,
        _ => CharClass::Separator,
    }
}

fn is_mark(c: char) -> bool {
    // Unicode has no combining mark below U+0300: Latin text never runs the regular expression.
    c >= '\u{300}' && MARK.as_ref().is_some_and(|mark| mark.is_match(c.encode_utf8(&mut [0; 4])))
}

impl Tokenizer for WordTokenizer {
    type TokenStream<'a> = WordStream<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream<'a> {
        self.token.reset();
        WordStream { text, chars: text.char_indices().peekable(), token: &mut self.token }
    }
}

impl TokenStream for WordStream<'_> {
    fn advance(&mut self) -> bool {
        let Some((start, first)) = self.chars.by_ref().find_map(|(offset, c)| match classify_char(c) {
            class @ (CharClass::Word | CharClass::Single) => Some((offset, class)),
            // A mark without a letter before it belongs to no word.
            CharClass::Mark | CharClass::Separator => None,
        }) else {
            return false;
        };
        while let Some((_, c)) = self.chars.peek() {
            match (first, classify_char(*c)) {
                (CharClass::Word, CharClass::Word) | (_, CharClass::Mark) => self.chars.next(),
                _ => break,
            };
        }
        // invariant: without a next character the word reaches to the end of the text.
        let end = self.chars.peek().map_or(self.text.len(), |(offset, _)| *offset);
        let (word, _) = self.text.split_at(end);
        let (_, word) = word.split_at(start);
        self.token.text.clear();
        self.token.text.push_str(word);
        // `reset` sets the position to `usize::MAX`, so that the first token wraps to 0.
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
        WordTokenizer::default().token_stream(text).process(&mut |token| {
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
