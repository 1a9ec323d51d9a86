//! A server that speaks as much of S3 as the client for it asks for, over TCP, and does one thing wrong.
#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use elacsym::storage::ObjectStoreBackend;
use elacsym::{Error, ErrorKind, Result};
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, RetryConfig};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    None,
    /// It never heard of `If-None-Match`, like many that call themselves compatible.
    IgnoresIfNoneMatch,
    /// It looks whether the object exists, then writes.
    RacesIfNoneMatch,
    /// It answers 200 to a create that changed nothing.
    LosersSucceed,
    /// It stores every object, then answers 500.
    FailsAfterPut,
    /// It sends a body as it was when it was first asked for, also if there was none.
    CachesReads,
    CutsBodies,
    IgnoresRanges,
    /// A listing does not show the last object that was put before it.
    ListsLate,
    ListsUnsorted,
    /// It announces another page and sends the same again.
    RepeatsPages,
    IgnoresDelimiter,
    DeletesNothing,
}

/// How long a server that looks first takes to write.
const RACE: Duration = Duration::from_millis(20);
const PAGE_KEYS: usize = 1_000;

#[derive(Debug)]
struct Server {
    fault: ServerFault,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    cache: BTreeMap<String, Option<Vec<u8>>>,
    last_put: Option<String>,
}

struct Request {
    method: String,
    /// Without the bucket; empty for the bucket itself.
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    range: Option<String>,
    body: Vec<u8>,
}

impl Response {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, range: None, body: body.into() }
    }

    fn error(status: u16, code: &str) -> Self {
        Self::new(status, format!("<Error><Code>{code}</Code><Message>as it is</Message></Error>"))
    }
}

/// Starts a server, and returns a backend over it that is set up as that of `s3://`.
pub async fn backend_over(fault: ServerFault) -> Result<ObjectStoreBackend> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::new(Server { fault, state: Mutex::default() });
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = Arc::clone(&server);
            // A client that goes away ends its connection.
            spawn(async move { drop(server.serve(stream).await) });
        }
    });
    let builder = AmazonS3Builder::new()
        .with_endpoint(format!("http://{address}"))
        .with_region("us-east-1")
        .with_bucket_name("bucket")
        .with_access_key_id("test")
        .with_secret_access_key("testtest")
        .with_client_options(ClientOptions::new().with_allow_http(true))
        .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() });
    let client = builder.build().map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
    Ok(ObjectStoreBackend::new(Arc::new(client), "root")?.page_keys(PAGE_KEYS.try_into().unwrap()))
}

#[expect(clippy::disallowed_methods, reason = "the server is no task of the library")]
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await? {
            let response = self.answer(&request).await;
            let Response { status, range, body } = response;
            let range = range.map(|range| format!("content-range: {range}\r\n")).unwrap_or_default();
            let head = format!(
                "HTTP/1.1 {status} as it is\r\ncontent-length: {}\r\netag: \"1\"\r\n\
                 last-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n{range}\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            if request.method != "HEAD" {
                stream.write_all(&body).await?;
            }
        }
        Ok(())
    }

    async fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.key.as_str()) {
            ("GET", "") => self.list(&request.query),
            ("POST", "") => self.delete_many(&request.body),
            ("PUT", key) => self.put(key, request).await,
            ("GET" | "HEAD", key) => self.get(key, request),
            ("DELETE", key) => {
                self.delete(key);
                Response::new(204, "")
            }
            _ => Response::error(501, "NotImplemented"),
        }
    }

    async fn put(&self, key: &str, request: &Request) -> Response {
        let create = request.headers.get("if-none-match").is_some_and(|value| value == "*");
        let taken = self.state().objects.contains_key(key);
        match self.fault {
            ServerFault::IgnoresIfNoneMatch => {}
            ServerFault::LosersSucceed if create && taken => return Response::new(200, ""),
            _ if create && taken => return Response::error(412, "PreconditionFailed"),
            ServerFault::RacesIfNoneMatch => pause(RACE).await,
            _ => {}
        }
        let mut state = self.state();
        state.objects.insert(key.to_owned(), request.body.clone());
        state.last_put = Some(key.to_owned());
        if self.fault == ServerFault::FailsAfterPut {
            return Response::error(500, "InternalError");
        }
        Response::new(200, "")
    }

    fn get(&self, key: &str, request: &Request) -> Response {
        let mut state = self.state();
        let stored = state.objects.get(key).cloned();
        let found = match self.fault {
            ServerFault::CachesReads => state.cache.entry(key.to_owned()).or_insert(stored).clone(),
            _ => stored,
        };
        let Some(mut body) = found else { return Response::error(404, "NoSuchKey") };
        if self.fault == ServerFault::CutsBodies {
            body.pop();
        }
        let range = request.headers.get("range").and_then(|range| range.strip_prefix("bytes="));
        let Some((start, last)) = range.and_then(|range| range.split_once('-')) else {
            return Response::new(200, body);
        };
        if self.fault == ServerFault::IgnoresRanges {
            return Response::new(200, body);
        }
        let (start, size) = (start.parse::<usize>().unwrap(), body.len());
        let end = last.parse::<usize>().unwrap().saturating_add(1).min(size);
        let Some(part) = body.get(start..end).filter(|part| !part.is_empty()) else {
            return Response::error(416, "InvalidRange");
        };
        let range = Some(format!("bytes {start}-{}/{size}", end - 1));
        Response { status: 206, range, body: part.to_vec() }
    }

    fn delete(&self, key: &str) {
        if self.fault != ServerFault::DeletesNothing {
            self.state().objects.remove(key);
        }
    }

    fn delete_many(&self, body: &[u8]) -> Response {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let keys = text.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0);
        let deleted = keys.map(|key| {
            self.delete(key);
            format!("<Deleted><Key>{key}</Key></Deleted>")
        });
        Response::new(200, format!("<DeleteResult>{}</DeleteResult>", deleted.collect::<String>()))
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let mut state = self.state();
        let hidden = state.last_put.take().filter(|_| self.fault == ServerFault::ListsLate);
        let of = |name: &str| query.get(name).map(String::as_str);
        let prefix = of("prefix").unwrap_or_default();
        let after = of("continuation-token").or(of("start-after"));
        let after = after.filter(|_| self.fault != ServerFault::RepeatsPages);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = state.objects.range::<str, _>((start, Bound::Unbounded));
        let found = found.filter(|(key, _)| key.starts_with(prefix) && Some(*key) != hidden.as_ref());
        let delimiter = of("delimiter").filter(|_| self.fault != ServerFault::IgnoresDelimiter);
        let (mut page, mut folders) = (Vec::new(), BTreeSet::new());
        let mut more = self.fault == ServerFault::RepeatsPages;
        for (key, body) in found {
            let rest = &key[prefix.len()..];
            match delimiter.and_then(|delimiter| rest.split_once(delimiter)) {
                Some((folder, _)) => {
                    folders.insert(format!("{prefix}{folder}/"));
                }
                None if page.len() == PAGE_KEYS => {
                    more = true;
                    break;
                }
                None => page.push((key, body.len())),
            }
        }
        if self.fault == ServerFault::ListsUnsorted {
            page.reverse();
        }
        let mut xml = String::from("<ListBucketResult>");
        for (key, size) in &page {
            let times = "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>\"1\"</ETag>";
            write!(xml, "<Contents><Key>{key}</Key><Size>{size}</Size>{times}</Contents>").unwrap();
        }
        for folder in &folders {
            write!(xml, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>").unwrap();
        }
        if let (true, Some((last, _))) = (more, page.last()) {
            write!(xml, "<NextContinuationToken>{last}</NextContinuationToken>").unwrap();
        }
        Response::new(200, xml + "</ListBucketResult>")
    }
}

#[expect(clippy::disallowed_methods, reason = "the server is no task of the library")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The next request of a connection; `None` if the client closed it.
async fn read_request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let query = pairs.map(|(name, value)| (name.to_owned(), decode(value))).collect();
    let key = decode(path).strip_prefix("/bucket").unwrap().trim_start_matches('/').to_owned();
    Ok(Some(Request { method, key, query, headers, body }))
}

/// Resolves percent escapes.
fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}
