//! Hostile text of queries: what is typed into a search box, in columns of every tokenizer and language.

use super::bind::bind_query;
use super::{SearchBox, TextMatch, TextPhrase, TextQuery};
use crate::error::Error;
use crate::fuzzing::FuzzTarget;
use crate::schema::{AttributeType, Language, Schema, TextOptions, Tokenizer};
use crate::settings::Settings;
use crate::types::IdKind;

/// A text column for each tokenizer and some languages.
fn schema() -> Schema {
    let plain = TextOptions::default;
    let mut builder = Schema::builder(IdKind::U64)
        .text("words", plain())
        .text("spaces", plain().tokenizer(Tokenizer::Whitespace).max_token_length(3))
        .text("raw", plain().tokenizer(Tokenizer::Raw))
        .text("grams", plain().tokenizer(Tokenizer::Ngram { min: 2, max: 4 }))
        .attribute("array", AttributeType::StringArray)
        .full_text("array", plain().ascii_folding(true));
    for language in Language::ALL {
        builder = builder.text(language.to_string(), plain().language(language).ascii_folding(true));
    }
    builder.build().unwrap()
}

#[test]
fn fuzz_text_query() {
    let (schema, settings) = (schema(), Settings::default());
    let columns: Vec<String> = schema.texts().map(|(name, _)| name.to_owned()).collect();
    let search = SearchBox::new().column("words", 2.0).column("array", 1.0).field("raw").every().prefix();
    let seeds = [
        "cold \"object storage\" -tea raw:x",
        "-\"green tea",
        "Straße naïve 東京タワー",
        "हिन्दी e\u{301}te\u{301} 👩‍👩‍👧",
    ];
    let words = &["\"", "-", "raw:", " ", "\u{301}", "👩‍👩‍👧", "東", "\u{200d}", "İ", "ﬁ", "Σ", "running", "\0"];
    FuzzTarget::new("text_query", seeds).words(words).memory(512, 16 << 20).inputs(300).run(|input| {
        let text = String::from_utf8_lossy(input);
        let mut queries: Vec<TextQuery> = vec![search.parse(&text)];
        for column in &columns {
            queries.push(TextMatch::all(&*text).column(column, 1.0).prefix().fuzzy().into());
            queries.push(TextPhrase::new(column, &*text).slop(2).prefix().into());
        }
        let mut answer = Ok(());
        for query in queries {
            let bound = bind_query(&query, &schema, &settings).map(drop);
            // Phrases of n-grams are refused whatever the text.
            if !matches!(&query, TextQuery::Phrase(phrase) if phrase.column == "grams") {
                answer = answer.and(bound);
            }
        }
        answer.map_err(|e: Error| e.to_string())
    });
}
