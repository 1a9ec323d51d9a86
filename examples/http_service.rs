//! A search service over HTTP: documents and queries come in as JSON, hits and errors go out as JSON. Run several of it
//! behind a load balancer on one bucket: they need not know of each other.
//!
//! `cargo run --example http_service` asks itself some requests. With an address and a location, such as
//! `127.0.0.1:3000 ./notes` or `127.0.0.1:3000 s3://bucket/notes`, it serves.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "an example prints, and has the runtime to itself"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use elacsym::query::QueryCursor;
use elacsym::schema::{AttributeType, TextOptions};
use elacsym::{Database, Document, ErrorKind, Filter, Hit, IdKind, Namespace, Query, Schema, WriteBatch};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Writes documents, given as an array of objects whose fields are columns.
async fn write(State(notes): State<Namespace>, rows: Body<Vec<Value>>) -> Result<Json<Value>, Failure> {
    let Json(rows) = rows?;
    let documents = rows.iter().map(|row| Document::from_serialize(notes.schema(), row));
    let batch: WriteBatch = documents.collect::<elacsym::Result<Vec<_>>>()?.into();
    // It is durable when the client is told, and every later query sees it, whichever process answers.
    let receipt = notes.write(batch).await?;
    Ok(Json(json!({"upserted": receipt.upserted})))
}

/// Returns a document, if clients may see it.
async fn read(State(notes): State<Namespace>, Path(id): Path<u64>) -> Result<Response, Failure> {
    let note = notes.get_one(id).await?.filter(|note| note.bool("public") == Some(true));
    let missing = || (StatusCode::NOT_FOUND, Json(json!({"error": "no such note"}))).into_response();
    Ok(note.map_or_else(missing, |note| Json(note).into_response()))
}

#[derive(Serialize)]
struct Page {
    hits: Vec<Hit>,
    /// Where the next page begins: `after` of the next query.
    next: Option<QueryCursor>,
}

/// Answers a query in its JSON form. What clients may not decide is added here: filters narrow, later calls win.
async fn search(State(notes): State<Namespace>, query: Body<Query>) -> Result<Json<Page>, Failure> {
    let Json(query) = query?;
    let query = query.filter(Filter::eq("public", true)).timeout(Duration::from_secs(2));
    let answer = notes.query(query).await?;
    Ok(Json(Page { hits: answer.hits()?, next: answer.cursor }))
}

fn service(notes: Namespace) -> Router {
    Router::new()
        .route("/notes", post(write))
        .route("/notes/{id}", get(read))
        .route("/search", post(search))
        .with_state(notes)
}

/// The body of a request, or why it is none.
type Body<T> = Result<Json<T>, JsonRejection>;

/// An error as a client sees it: what the client can mend says why, everything else is for the log.
struct Failure(StatusCode, String);

impl From<elacsym::Error> for Failure {
    fn from(error: elacsym::Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Invalid | ErrorKind::LimitExceeded => {
                return Self(StatusCode::BAD_REQUEST, error.to_string());
            }
            ErrorKind::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ if error.is_retryable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        tracing::error!(%error, "a request failed");
        Self(status, status.canonical_reason().unwrap_or_default().to_owned())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let schema = Schema::builder(IdKind::U64)
        .text("body", TextOptions::default())
        .attribute("public", AttributeType::Bool)
        .build()?;
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next();
    let location = arguments.next().unwrap_or_else(|| "memory://".to_owned());
    let notes = Database::open(location).await?.open_or_create_namespace("notes", schema).await?;
    if let Some(address) = address {
        return Ok(axum::serve(TcpListener::bind(address).await?, service(notes)).await?);
    }

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { axum::serve(listener, service(notes)).await });
    let rows = r#"[{"id": 1, "body": "cold tea", "public": true}, {"id": 2, "body": "tea leaves", "public": false}]"#;
    let tea = r#"{"legs": [{"text": {"any": "tea", "in": "body"}}], "limit": 5}"#;
    let typo = r#"{"legs": [{"text": {"any": "tea", "column": "body"}}]}"#;
    for (method, path, body) in [
        ("POST", "/notes", rows),
        ("GET", "/notes/1", ""),
        ("GET", "/notes/2", ""),
        ("POST", "/search", tea),
        ("POST", "/search", typo),
    ] {
        println!("{method} {path} {body}\n  {}", ask(address, method, path, body).await?);
    }
    server.abort();
    Ok(())
}

/// Sends a request, and returns the status and the body of the answer.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let headers = format!("host: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}");
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(format!("{}: {body}", head.lines().next().unwrap_or_default().trim_start_matches("HTTP/1.1 ")))
}
