use std::net::TcpListener;

use super::{
    listener::{Answer, Listener},
    *,
};

const BRIEF: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

fn url(text: &str) -> HttpUrl {
    HttpUrl::parse(text).unwrap()
}

fn get(url: &HttpUrl) -> Request<'_> {
    Request {
        method: Method::Get,
        url,
        headers: &[],
        body: None,
        roots: None,
        timeout: LONG,
        body_limit: 1000,
    }
}

#[tokio::test]
async fn a_request_goes_out_as_it_is_and_the_answer_comes_back_capped() {
    let listener = Listener::start([Answer::With(
        418,
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: 7\r\n",
        "0123456789".to_owned(),
    )]);
    let url = url(&listener.url("/a/b?c=1"));
    let request = Request {
        method: Method::Post,
        headers: &[("x-token", SecretString::from("s3cret"))],
        body: Some(b"{\"a\":1}"),
        body_limit: 4,
        ..get(&url)
    };
    let response = Http::default().send(&request).await.unwrap();
    assert_eq!(response.status, 418);
    assert_eq!(response.body.expose_secret(), b"0123");
    let date = response.date().unwrap();
    assert_eq!(date.to_string(), "1994-11-06T08:49:37Z");
    let after = response.retry_after(date).unwrap();
    assert_eq!(after.seconds_since(date), 7);
    let seen = &listener.wait_for(1)[0];
    assert_eq!(seen.what, "POST /a/b?c=1");
    assert_eq!(seen.body, "{\"a\":1}");
    assert!(seen.headers.contains("x-token: s3cret"), "{}", seen.headers);
    assert!(
        seen.headers.contains("user-agent: lorectl/"),
        "{}",
        seen.headers
    );
    assert!(!format!("{request:?}").contains("s3cret"));
}

#[tokio::test]
async fn an_endless_body_is_read_to_its_limit() {
    let listener = Listener::start([Answer::Flood]);
    let url = url(&listener.url("/"));
    let response = Http::default().send(&get(&url)).await.unwrap();
    assert_eq!(response.body.expose_secret().len(), 1000);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let listener = Listener::start([Answer::With(302, "Location: /elsewhere\r\n", String::new())]);
    let url = url(&listener.url("/x"));
    let response = Http::default().send(&get(&url)).await.unwrap();
    assert_eq!(
        (response.status, response.header("Location")),
        (302, Some("/elsewhere"))
    );
    assert_eq!(listener.seen().len(), 1);
}

#[tokio::test]
async fn what_is_in_the_way_is_said_without_the_url() {
    let listener = Listener::start([Answer::Hang]);
    let closing = Listener::start([Answer::Close]);
    let refused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (text, timeout, expected) in [
        (listener.url("/s3cret"), BRIEF, "no answer in time"),
        (
            closing.url("/s3cret"),
            LONG,
            "the connection broke off, or what came was no HTTP",
        ),
        (
            format!("http://{refused}/s3cret"),
            LONG,
            "no connection: connection refused",
        ),
        (
            "http://s3cret.invalid/".to_owned(),
            LONG,
            "the host's name cannot be resolved",
        ),
        (
            closing.url("/s3cret").replace("http:", "https:"),
            LONG,
            "no trust: TLS failed, or the server does not speak it",
        ),
    ] {
        let url = url(&text);
        let request = Request {
            timeout,
            ..get(&url)
        };
        let fault = Http::default().send(&request).await.unwrap_err();
        let fault = fault.to_string();
        let close_enough = fault == expected
            || (text.starts_with("https:") && fault.starts_with("no "))
            || (text.starts_with("https:") && fault.starts_with("the connection"));
        assert!(close_enough, "{text}: {fault}");
        assert!(
            !fault.contains("s3cret") && !fault.contains("127.0.0.1"),
            "{fault}"
        );
    }
}

#[tokio::test]
async fn a_name_that_leads_to_a_link_local_address_is_refused() {
    // glibc takes an address for the name of one, which makes a name of it here.
    let fault = Resolver.resolve("169.254.169.254".parse().unwrap()).await;
    let fault = fault.err().unwrap();
    assert_eq!(fault.downcast_ref::<Fault>(), Some(&Fault::LinkLocal));
    let found = Resolver
        .resolve("127.0.0.1".parse().unwrap())
        .await
        .ok()
        .unwrap();
    assert_eq!(found.count(), 1);
}

#[tokio::test]
async fn what_is_no_certificate_is_said_to_be_none() {
    let url = url("https://127.0.0.1:9/");
    for roots in [&b""[..], b"nonsense"] {
        let request = Request {
            roots: Some(roots),
            ..get(&url)
        };
        let fault = Http::default().send(&request).await.unwrap_err();
        assert_eq!(fault, Fault::Roots);
    }
}

#[test]
fn a_header_s_value_that_cannot_be_sent_is_not_quoted() {
    let url = url("http://127.0.0.1:9/");
    let request = Request {
        headers: &[("x-token", SecretString::from("a\nb"))],
        ..get(&url)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fault = runtime
        .block_on(Http::default().send(&request))
        .unwrap_err();
    assert_eq!(fault, Fault::Header("x-token".to_owned()));
}

#[tokio::test]
async fn a_header_s_name_may_be_anyone_s() {
    let listener = Listener::start([Answer::With(200, "X-One: a\r\nX-TWO: b\r\n", String::new())]);
    let url = url(&listener.url("/"));
    let name = String::from("PRIVATE-TOKEN");
    let headers = [(name.as_str(), SecretString::from("s3cret"))];
    let request = Request {
        headers: &headers,
        ..get(&url)
    };
    let response = Http::default().send(&request).await.unwrap();
    let ours = (response.headers()).filter(|(name, _)| name.starts_with("x-"));
    assert_eq!(ours.collect::<Vec<_>>(), [("x-one", "a"), ("x-two", "b")]);
    let seen = &listener.wait_for(1)[0];
    assert!(seen.headers.contains("private-token: s3cret"));

    let headers = [("no name", SecretString::from("s3cret"))];
    let request = Request {
        headers: &headers,
        ..get(&url)
    };
    let fault = Http::default().send(&request).await.unwrap_err();
    assert_eq!(fault, Fault::Header("no name".to_owned()));
}

#[tokio::test]
async fn a_proxy_that_is_named_gets_the_request() {
    let proxy = Listener::start([Answer::status(204)]);
    let http = Http::through(url(&proxy.url("/")));
    let url = url("http://nobody.invalid/x");
    assert_eq!(http.send(&get(&url)).await.unwrap().status, 204);
    assert_eq!(proxy.wait_for(1)[0].what, "GET http://nobody.invalid/x");
}

#[test]
fn http_dates() {
    let read = |text| http_date(text).map(|at| at.to_string());
    assert_eq!(
        read("Sun, 06 Nov 1994 08:49:37 GMT").as_deref(),
        Some("1994-11-06T08:49:37Z")
    );
    assert_eq!(read("soon"), None);
}
