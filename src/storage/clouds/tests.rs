//! What clients make of their configuration and of answers.

#[cfg(all(feature = "azure", feature = "gcp"))]
mod canary {
    use super::super::*;

    /// Nothing listens on the discard port: every request fails with what the client knows.
    const NOWHERE: &str = "http://127.0.0.1:9";

    async fn shows_no_canary(backend: Arc<dyn StorageBackend>) {
        let key = crate::storage::ObjectKey::new("k").unwrap();
        let put = backend.put(&key, "x".into(), crate::storage::PutMode::Create).await.unwrap_err();
        for shown in [format!("{backend} {backend:?}"), format!("{put} {put:?}")] {
            assert!(!shown.contains("CANARY") && !shown.contains("Q0FOQVJZ"), "{shown}");
        }
    }

    #[tokio::test]
    async fn azure_and_gcp_show_no_secret() {
        // `CANARY` in base 64, as a key has to be.
        let azure = MicrosoftAzureBuilder::new()
            .with_account("account")
            .with_access_key("Q0FOQVJZ")
            .with_endpoint(NOWHERE.to_owned())
            .with_allow_http(true);
        shows_no_canary(build_azure(azure, "container", "root").unwrap()).await;
        let sas = MicrosoftAzureBuilder::new()
            .with_account("account")
            .with_config(AzureConfigKey::SasKey, "sv=1&sig=CANARY")
            .with_endpoint(NOWHERE.to_owned())
            .with_allow_http(true);
        shows_no_canary(build_azure(sas, "container", "root").unwrap()).await;
        let gcp = GoogleCloudStorageBuilder::new().with_service_account_key(r#"{"private_key":"CANARY"}"#);
        let error = build_gcp(gcp, "bucket", "root").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}

/// The client for S3 over a server in this process: what it makes of answers, and how often it asks.
#[cfg(feature = "aws")]
mod fake_s3 {
    use std::collections::{BTreeMap, VecDeque};
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use object_store::ClientOptions;
    use object_store::client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
        HttpService,
    };

    use super::super::*;
    use crate::error::ErrorKind;
    use crate::storage::{ObjectKey, PutMode};

    /// What the server does with a request instead of what it should.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        /// Answers with this status before it does anything.
        Refuse(u16),
        /// Stores the object, then answers 500.
        FailAfter,
        /// Stores the object, then does not answer.
        LoseAnswer,
    }

    #[derive(Debug, Default)]
    struct Server {
        objects: Mutex<BTreeMap<String, Bytes>>,
        faults: Mutex<VecDeque<Fault>>,
        requests: Mutex<Vec<String>>,
    }

    impl Server {
        fn next(&self, faults: impl IntoIterator<Item = Fault>) {
            self.requests.lock().unwrap().clear();
            *self.faults.lock().unwrap() = faults.into_iter().collect();
        }

        fn requests(&self) -> Vec<String> {
            self.requests.lock().unwrap().clone()
        }

        fn put(&self, path: &str, create: bool, body: Bytes) -> u16 {
            let mut objects = self.objects.lock().unwrap();
            if create && objects.contains_key(path) {
                return 412;
            }
            objects.insert(path.to_owned(), body);
            200
        }

        /// Deletes all but `locked`. Of `odd` it says something about another object.
        fn delete_many(&self, body: &Bytes) -> Bytes {
            let text = String::from_utf8(body.to_vec()).unwrap();
            let keys = text.split("<Key>").skip(1).map(|rest| rest.split_once('<').unwrap().0);
            let answers = keys.map(|key| {
                if key == "root/locked" || key == "root/odd" {
                    let key = key.replace("odd", "another");
                    return format!("<Error><Key>{key}</Key><Code>AccessDenied</Code><Message/></Error>");
                }
                self.objects.lock().unwrap().remove(&format!("/bucket/{key}"));
                format!("<Deleted><Key>{key}</Key></Deleted>")
            });
            Bytes::from(format!("<DeleteResult>{}</DeleteResult>", answers.collect::<String>()))
        }
    }

    fn response(status: u16, body: Bytes) -> HttpResponse {
        let len = body.len().to_string();
        let mut response = HttpResponse::new(HttpResponseBody::from(body));
        *response.status_mut() = status.try_into().unwrap();
        let headers = response.headers_mut();
        headers.insert("etag", "\"1\"".parse().unwrap());
        headers.insert("content-length", len.parse().unwrap());
        headers.insert("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT".parse().unwrap());
        response
    }

    /// As chatty as a real one.
    fn refusal(status: u16) -> HttpResponse {
        let body = "<?xml version=\"1.0\"?><Error><Code>Refused</Code><Message>no</Message>\
                <AWSAccessKeyId>CANARY</AWSAccessKeyId><StringToSign>CANARY</StringToSign></Error>";
        response(status, Bytes::from(body))
    }

    #[derive(Clone, Debug)]
    struct Connection(Arc<Server>);

    impl HttpConnector for Connection {
        fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
            Ok(HttpClient::new(self.clone()))
        }
    }

    #[async_trait]
    impl HttpService for Connection {
        async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
            let server = &self.0;
            let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
            let create = request.headers().get("if-none-match").is_some_and(|value| value == "*");
            let body = HttpResponseBody::new(request.into_body()).bytes().await?;
            server.requests.lock().unwrap().push(format!("{method} {path}"));
            let fault = server.faults.lock().unwrap().pop_front();
            if let Some(Fault::Refuse(status)) = fault {
                return Ok(refusal(status));
            }
            if method == "POST" {
                return Ok(response(200, server.delete_many(&body)));
            }
            let status = match method.as_str() {
                "PUT" => server.put(&path, create, body),
                _ => 200,
            };
            match (fault, server.objects.lock().unwrap().get(&path)) {
                (Some(Fault::FailAfter), _) => Ok(refusal(500)),
                (Some(_), _) => {
                    let lost = std::io::Error::other("https://host/?X-Amz-Signature=CANARY timed out");
                    Err(HttpError::new(HttpErrorKind::Timeout, lost))
                }
                (None, Some(found)) if method == "GET" => Ok(response(200, found.clone())),
                (None, None) => Ok(refusal(404)),
                (None, Some(_)) if status == 200 => Ok(response(200, Bytes::new())),
                (None, Some(_)) => Ok(refusal(status)),
            }
        }
    }

    fn open() -> (Arc<Server>, Arc<dyn StorageBackend>) {
        let server = Arc::new(Server::default());
        let builder = AmazonS3Builder::new()
            .with_region("us-east-1")
            .with_endpoint("http://fake")
            .with_allow_http(true)
            .with_access_key_id("CANARY")
            .with_secret_access_key("CANARY")
            .with_token("CANARY")
            .with_http_connector(Connection(Arc::clone(&server)));
        let backend = build_aws(builder, "bucket", "root").unwrap();
        assert_eq!(format!("{backend} {backend:?}"), "s3://bucket/root ObjectStoreBackend(s3://bucket/root)");
        (server, backend)
    }

    fn key() -> ObjectKey {
        ObjectKey::new("wal/1").unwrap()
    }

    const PATH: &str = "/bucket/root/wal/1";

    /// A create under a fault: its error, and what the key then holds.
    async fn create_under(fault: Fault) -> (ErrorKind, Option<Bytes>) {
        let (server, backend) = open();
        server.next([fault]);
        let error = backend.put(&key(), "mine".into(), PutMode::Create).await.unwrap_err();
        assert_eq!(server.requests(), [format!("PUT {PATH}")], "{fault:?}: a create is sent once");
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
        (error.kind(), backend.get(&key()).await.ok())
    }

    #[tokio::test]
    async fn a_create_is_never_retried_whatever_the_answer() {
        let mine = || Some(Bytes::from("mine"));
        assert_eq!(create_under(Fault::FailAfter).await, (ErrorKind::Unavailable, mine()));
        assert_eq!(create_under(Fault::LoseAnswer).await, (ErrorKind::Unavailable, mine()));
        // S3's word for "two at once, try again": it looks like a lost race, but nothing is there.
        assert_eq!(create_under(Fault::Refuse(409)).await, (ErrorKind::AlreadyExists, None));
        assert_eq!(create_under(Fault::Refuse(412)).await, (ErrorKind::AlreadyExists, None));
        assert_eq!(create_under(Fault::Refuse(403)).await, (ErrorKind::PermissionDenied, None));
        assert_eq!(create_under(Fault::Refuse(401)).await, (ErrorKind::PermissionDenied, None));
        assert_eq!(create_under(Fault::Refuse(429)).await, (ErrorKind::Unavailable, None));
        assert_eq!(create_under(Fault::Refuse(503)).await, (ErrorKind::Unavailable, None));
    }

    #[tokio::test]
    async fn a_second_create_is_refused_and_changes_nothing() -> Result<()> {
        let (_, backend) = open();
        backend.put(&key(), "first".into(), PutMode::Create).await?;
        let error = backend.put(&key(), "second".into(), PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(backend.get(&key()).await?, "first");
        Ok(())
    }

    #[tokio::test]
    async fn reads_and_overwrites_are_retried() -> Result<()> {
        let (server, backend) = open();
        server.next([Fault::Refuse(503), Fault::FailAfter]);
        backend.put(&key(), "x".into(), PutMode::Overwrite).await?;
        assert_eq!(server.requests().len(), 3);
        server.next([Fault::Refuse(503), Fault::Refuse(429), Fault::LoseAnswer]);
        assert_eq!(backend.get(&key()).await?, "x");
        assert_eq!(server.requests().len(), 4);
        Ok(())
    }

    #[tokio::test]
    async fn a_thousand_objects_are_deleted_by_one_request() -> Result<()> {
        let (server, backend) = open();
        let keys =
            |names: &[&str]| names.iter().map(|name| ObjectKey::new(*name)).collect::<Result<Vec<_>>>();
        backend.put(&key(), "x".into(), PutMode::Create).await?;
        server.next([]);
        backend.delete_many(&vec![key(); 1_001]).await?;
        assert_eq!(server.requests(), ["POST /bucket", "POST /bucket"]);
        assert_eq!(backend.get(&key()).await.unwrap_err().kind(), ErrorKind::NotFound);
        for (bad, kind) in [("locked", ErrorKind::PermissionDenied), ("odd", ErrorKind::Internal)] {
            let incomplete = backend.delete_many(&keys(&["a", bad, "b"])?).await.unwrap_err();
            assert_eq!(incomplete.cause.kind(), kind, "{incomplete}");
            let remaining = if bad == "locked" { keys(&[bad])? } else { keys(&["a", bad, "b"])? };
            assert_eq!(incomplete.remaining, remaining);
        }
        server.next([Fault::Refuse(403)]);
        let incomplete = backend.delete_many(&keys(&["a", "b"])?).await.unwrap_err();
        assert_eq!(incomplete.remaining.len(), 2);
        assert!(!format!("{incomplete} {incomplete:?}").contains("CANARY"), "{incomplete}");
        Ok(())
    }

    #[tokio::test]
    async fn a_refused_read_shows_no_secret() {
        let (server, backend) = open();
        assert_eq!(backend.get(&key()).await.unwrap_err().kind(), ErrorKind::NotFound);
        server.next([Fault::Refuse(403)]);
        let error = backend.get(&key()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(!format!("{error} {error:?}").contains("CANARY"), "{error}");
    }
}
