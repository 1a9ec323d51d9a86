//! Removes credentials from the text of foreign errors.
//!
//! A client's error may contain a signed URL, a header or the body of a response. Scrubbing keeps what helps (the
//! status, the store's code and message) and removes what must not be in a log.
//!
//! **Invariant:** only text that went through [`scrub`] becomes part of an [`Error`](crate::Error).

use std::borrow::Cow;
use std::error::Error as StdError;
use std::sync::LazyLock;

use regex::Regex;

/// The longest text that is kept: room for a status, a code and a message on one line of a log.
const SHOWN_BYTES_MAX: usize = 256;
/// How much of a text is scanned: the body of a response may be a page of HTML, and six expressions run over it.
const SCANNED_BYTES_MAX: usize = 8 << 10;
/// How many sources of an error are followed. A source may in theory lead back to its error.
const SOURCES_MAX: usize = 8;

/// What is replaced by what, in this order.
const RULES: [(&str, &str); 6] = [
    // Of an XML body only the code and the message are known to be harmless: S3 and Azure add the key id and the string
    // to sign.
    (r"(?s)<\?xml.*?\?>", ""),
    (r"(?s)<Error>.*?<Code>([^<]*)</Code>(?:.*?<Message>([^<]*)</Message>)?.*", "$1: $2"),
    // Query strings hold signatures.
    (r"\?\S*", ""),
    (r"//[^/\s@]*@", "//"),
    (r"(?i)\b(bearer|basic|sharedkey|sharedkeylite|aws4-hmac-sha256)\s+\S+", "$1 ***"),
    (
        r#"(?i)([a-z0-9_.-]*(?:secret|token|passw|signature|credential|access[_-]?key|account[_-]?key|private[_-]?key|\bsig\b)[a-z0-9_-]*)["'`]?\s*[=:]\s*["'`]?[^\s"'`,;&<>]+"#,
        "$1=***",
    ),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    RULES.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect()
});

/// The texts of an error and its sources, scrubbed.
pub(super) fn scrubbed_cause(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    for _ in 0..SOURCES_MAX {
        let Some(source) = next else { break };
        let message = source.to_string();
        // Many errors include the text of their source in their own.
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        next = source.source();
    }
    scrub(&text)
}

/// The text without credentials, on one line, and short.
pub(super) fn scrub(text: &str) -> String {
    // A rule that did not compile would let a secret pass, and an error path must not panic: then nothing is shown.
    if COMPILED.len() != RULES.len() {
        return String::from("(not shown)");
    }
    let mut text = Cow::Borrowed(truncate(text, SCANNED_BYTES_MAX));
    for (rule, with) in COMPILED.iter() {
        text = Cow::Owned(rule.replace_all(&text, *with).into_owned());
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    truncate(&line, SHOWN_BYTES_MAX).to_owned()
}

/// The first `bytes_max` bytes, less what would split a character.
fn truncate(text: &str, bytes_max: usize) -> &str {
    text.split_at(text.floor_char_boundary(bytes_max)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_secret_passes() {
        let samples = [
            "error sending request for url (https://b.s3.amazonaws.com/k?X-Amz-Signature=CANARY&X-Amz-Expires=9)",
            "GET /container/blob?sv=2024&sig=CANARY failed",
            "http://user:CANARY@localhost:9000/bucket",
            "authorization: Bearer CANARY",
            "Authorization: AWS4-HMAC-SHA256 Credential=CANARY/20260101/us-east-1, Signature=CANARY",
            "AccountName=a;AccountKey=CANARY;EndpointSuffix=x",
            r#"{"access_token":"CANARY","expires_in":1}"#,
            "secret_access_key: CANARY",
            "session-token = 'CANARY'",
            "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>no match</Message>\
             <AWSAccessKeyId>CANARY</AWSAccessKeyId><StringToSign>CANARY</StringToSign></Error>",
            "<Error><Code>X</Code><AuthenticationErrorDetail>CANARY</AuthenticationErrorDetail></Error>",
        ];
        for sample in samples {
            let shown = scrub(sample);
            assert!(!shown.contains("CANARY"), "{sample} -> {shown}");
        }
    }

    #[test]
    fn what_helps_stays() {
        let body = "Server returned non-2xx status code: 403 Forbidden: <?xml version=\"1.0\"?><Error>\
                    <Code>AccessDenied</Code><Message>Access Denied</Message><HostId>x</HostId></Error>";
        let shown = "Server returned non-2xx status code: 403 Forbidden: AccessDenied: Access Denied";
        assert_eq!(scrub(body), shown);
        assert_eq!(scrub("connection refused (os error 111)"), "connection refused (os error 111)");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(scrub(&"ä".repeat(10_000)).len(), SHOWN_BYTES_MAX);
        assert_eq!(scrub(&format!("a{}", "ä".repeat(10_000))).len(), SHOWN_BYTES_MAX - 1);
    }

    #[test]
    fn the_sources_of_an_error_are_shown_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner(#[source] std::io::Error);
        let error = Outer(Inner(std::io::Error::other("refused")));
        assert_eq!(scrubbed_cause(&error), "outer: inner: refused");
    }
}
