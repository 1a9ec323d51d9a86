//! Parses locations of databases and opens their backends.
//!
//! **Invariant:** an error never shows a location that may contain a credential; keys and tokens come from the
//! environment and from options, whose values are never shown.

use std::path::PathBuf;
use std::sync::Arc;

use super::{LocalBackend, MemoryBackend, StorageBackend, StoreOptions};
use crate::env::Env;
use crate::error::{Error, Result};

/// Opens the store behind a location.
///
/// | location | store |
/// |---|---|
/// | `memory://` | memory; every call creates an empty store |
/// | `./data`, `/srv/data`, `file:///srv/data` | a local folder, created if absent |
/// | `s3://bucket/prefix` | S3 and compatible stores (feature `aws`), configured by `AWS_*` variables |
/// | `gs://bucket/prefix` | Google Cloud Storage (feature `gcp`), configured by `GOOGLE_*` |
/// | `az://container/prefix` | Azure Blob Storage (feature `azure`), configured by `AZURE_*` |
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for any other location, a missing feature, or an
/// incomplete environment, and an option that the store does not know. Text that looks like a URL of another kind is never taken for a folder.
pub(crate) fn open_location(
    location: &str,
    options: &StoreOptions,
    env: &Env,
) -> Result<Arc<dyn StorageBackend>> {
    match parse_location(location)? {
        Location::Memory => {
            options.refuse("memory")?;
            Ok(Arc::new(MemoryBackend::new()))
        }
        Location::Folder(path) => {
            options.refuse("a local folder")?;
            Ok(Arc::new(LocalBackend::new(path, env)?))
        }
        Location::Bucket { cloud, bucket, root } => open_bucket(cloud, &bucket, &root, options),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cloud {
    Aws,
    Gcp,
    Azure,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Location {
    Memory,
    Folder(PathBuf),
    Bucket { cloud: Cloud, bucket: String, root: String },
}

/// The schemes of locations.
const SCHEMES: [&str; 5] = ["memory", "file", "s3", "gs", "az"];

pub(super) fn parse_location(location: &str) -> Result<Location> {
    let Some((scheme, rest)) = location.split_once("://") else {
        return parse_without_scheme(location);
    };
    // Not shown in the error: the location may contain a key.
    if rest.contains(['?', '#', '@']) {
        let why =
            "bad location: it must not contain `?`, `#` or `@`. credentials are taken from the environment";
        return Err(Error::invalid(why));
    }
    // Schemes are case-insensitive (RFC 3986).
    match scheme.to_ascii_lowercase().as_str() {
        "memory" if rest.is_empty() => Ok(Location::Memory),
        "memory" => Err(Error::invalid("bad location: nothing may follow `memory://`")),
        "file" => parse_folder(rest),
        "s3" => parse_bucket(Cloud::Aws, rest),
        "gs" => parse_bucket(Cloud::Gcp, rest),
        "az" => parse_bucket(Cloud::Azure, rest),
        _ => Err(Error::invalid(
            "bad location: it must be a folder, or begin with `file://`, `s3://`, `gs://`, `az://` or `memory://`. the \
             address of an S3-compatible store is taken from `AWS_ENDPOINT`",
        )),
    }
}

/// Parses a location without `://`: a folder, unless it looks like a misspelt URL. A folder that is created for
/// `s3:/bucket` would take every write, and nobody would look for the data there.
fn parse_without_scheme(location: &str) -> Result<Location> {
    if location.is_empty() {
        return Err(Error::invalid("bad location: it is empty"));
    }
    let lost_colon = |scheme: &&&str| {
        let start = location.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        start && location.get(scheme.len()..).is_some_and(|rest| rest.starts_with("//"))
    };
    if let Some(scheme) = SCHEMES.iter().find(lost_colon) {
        return Err(Error::invalid(format!("bad location: a colon is missing, write `{scheme}://`")));
    }
    // A single letter is a drive of Windows.
    let Some((scheme, _)) = location.split_once(':').filter(|(scheme, _)| scheme.len() > 1) else {
        return Ok(Location::Folder(PathBuf::from(location)));
    };
    let mut bytes = scheme.bytes();
    let letter = bytes.next().is_some_and(|first| first.is_ascii_alphabetic());
    if !letter || !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-')) {
        return Ok(Location::Folder(PathBuf::from(location)));
    }
    let scheme = scheme.to_ascii_lowercase();
    Err(Error::invalid(match SCHEMES.iter().find(|known| **known == scheme) {
        Some(known) => format!("bad location: two slashes are missing, write `{known}://`"),
        None => "bad location: it begins like a URL of another kind. for a folder with a colon in its name, begin with `./`"
            .to_owned(),
    }))
}

fn parse_folder(rest: &str) -> Result<Location> {
    let path = rest.strip_prefix("localhost").unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(Error::invalid(
            "bad location: `file://` takes an absolute path, such as `file:///srv/data`",
        ));
    }
    let path =
        decode_percent(path).ok_or_else(|| Error::invalid("bad location: invalid percent-encoding"))?;
    // `file:///C:/data` means `C:/data`.
    let drive = cfg!(windows) && path.as_bytes().get(2) == Some(&b':');
    let path = if drive { path.trim_start_matches('/') } else { path.as_str() };
    Ok(Location::Folder(PathBuf::from(path)))
}

fn parse_bucket(cloud: Cloud, rest: &str) -> Result<Location> {
    let (bucket, root) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'$');
    if bucket.is_empty() || !bucket.bytes().all(allowed) {
        return Err(Error::invalid("bad location: no valid name of a bucket or container"));
    }
    Ok(Location::Bucket { cloud, bucket: bucket.to_owned(), root: root.trim_matches('/').to_owned() })
}

fn decode_percent(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
            decoded.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg_attr(
    not(any(feature = "aws", feature = "gcp", feature = "azure")),
    expect(unused_variables, reason = "no cloud is compiled in")
)]
fn open_bucket(
    cloud: Cloud,
    bucket: &str,
    root: &str,
    options: &StoreOptions,
) -> Result<Arc<dyn StorageBackend>> {
    match cloud {
        #[cfg(feature = "aws")]
        Cloud::Aws => super::clouds::open_aws(bucket, root, options),
        #[cfg(feature = "gcp")]
        Cloud::Gcp => super::clouds::open_gcp(bucket, root, options),
        #[cfg(feature = "azure")]
        Cloud::Azure => super::clouds::open_azure(bucket, root, options),
        #[cfg(not(feature = "aws"))]
        Cloud::Aws => Err(not_compiled_in("s3://", "aws")),
        #[cfg(not(feature = "gcp"))]
        Cloud::Gcp => Err(not_compiled_in("gs://", "gcp")),
        #[cfg(not(feature = "azure"))]
        Cloud::Azure => Err(not_compiled_in("az://", "azure")),
    }
}

#[cfg(not(all(feature = "aws", feature = "gcp", feature = "azure")))]
fn not_compiled_in(scheme: &str, feature: &str) -> Error {
    Error::invalid(format!(
        "bad location: `{scheme}` needs the feature `{feature}` of elacsym, which is not enabled"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn bucket(cloud: Cloud, bucket: &str, root: &str) -> Location {
        Location::Bucket { cloud, bucket: bucket.to_owned(), root: root.to_owned() }
    }

    #[test]
    fn locations_are_read_as_written() {
        let folder = |path: &str| Location::Folder(PathBuf::from(path));
        let cases = [
            ("memory://", Location::Memory),
            ("./data", folder("./data")),
            ("/srv/my data", folder("/srv/my data")),
            ("file:///srv/my%20data", folder("/srv/my data")),
            ("file://localhost/srv", folder("/srv")),
            ("s3://books", bucket(Cloud::Aws, "books", "")),
            ("s3://books/a/b/", bucket(Cloud::Aws, "books", "a/b")),
            ("gs://books/a", bucket(Cloud::Gcp, "books", "a")),
            ("az://books/a", bucket(Cloud::Azure, "books", "a")),
            ("S3://Books/A", bucket(Cloud::Aws, "Books", "A")),
            ("FILE:///srv", folder("/srv")),
            ("C:\\data", folder("C:\\data")),
            ("./s3:/books", folder("./s3:/books")),
            ("/srv/a:b", folder("/srv/a:b")),
            ("s3/books", folder("s3/books")),
            ("2026-01:x", folder("2026-01:x")),
        ];
        for (text, location) in cases {
            assert_eq!(parse_location(text).unwrap(), location, "{text}");
        }
    }

    #[test]
    fn a_bad_location_is_refused_and_not_shown() {
        let bad = [
            "",
            "s3://",
            "s3:///a",
            "s3://CANARY:CANARY@bucket/a",
            "s3://bucket/a?sig=CANARY",
            "http://CANARY/a",
            "file://CANARY/a",
            "file:///a%zz",
            "memory://CANARY",
            "s3a://CANARY/a",
            "s3:/CANARY",
            "s3:CANARY/a",
            "S3:/CANARY",
            "s3//CANARY/a",
            "gs:/CANARY",
            "az:CANARY",
            "memory:",
            "file:/CANARY",
            "http:/CANARY",
            "http:CANARY",
            "abfs+x:CANARY",
        ];
        for text in bad {
            let error = parse_location(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
    }

    #[cfg(not(feature = "aws"))]
    #[tokio::test]
    async fn a_cloud_that_is_not_compiled_in_names_its_feature() {
        let env = Env::current().unwrap();
        let error = open_location("s3://bucket", &StoreOptions::default(), &env).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("`aws`"), "{error}");
    }

    #[tokio::test]
    async fn memory_and_folders_open_and_show_where_they_are() {
        let env = Env::current().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let open =
            |location: &str| open_location(location, &StoreOptions::default(), &env).unwrap().to_string();
        assert_eq!(open("memory://"), "memory");
        assert!(open(path.to_str().unwrap()).starts_with("file://"));
        assert!(path.is_dir());
    }
}
