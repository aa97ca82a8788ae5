//! URLs that may be asked.

use std::{fmt, mem, sync::LazyLock};

use secrecy::zeroize::Zeroize as _;
use url::{Host, Url};

use super::is_refused;

/// The longest URL, in bytes.
const LONGEST: usize = 4096;

/// A URL that a request may go to. It may be a secret, so it is printed by nothing and wiped after use.
#[derive(Clone)]
pub struct HttpUrl {
    url: Wiped,
    tls: bool,
    /// Whether a trace may tell its path.
    path_told: bool,
}

/// A parsed URL whose text is wiped after use.
#[derive(Clone)]
struct Wiped(Url);

static BLANK: LazyLock<Option<Url>> = LazyLock::new(|| Url::parse("wiped:").ok());

impl Drop for Wiped {
    fn drop(&mut self) {
        if let Some(blank) = &*BLANK {
            String::from(mem::replace(&mut self.0, blank.clone())).zeroize();
        }
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpUrl(…)")
    }
}

/// Why a URL is none that may be asked. It says nothing of the URL but its scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It is no URL at all, or one without a host.
    #[error("that is no URL, as `https://host/path`")]
    NotOne,
    /// It is of another scheme.
    #[error("`{0}` is not `https` or `http`")]
    Scheme(String),
    /// Its host is a link-local address or another that no request goes to.
    #[error(
        "a request to a link-local address is never sent: a cloud answers there with the machine's own credentials"
    )]
    LinkLocal,
    /// Its host is an address in a form that hides which.
    #[error("an address is written as `192.0.2.1` or `[2001:db8::1]`")]
    Disguised,
    /// It holds more than a URL should.
    #[error("the URL is over 4096 bytes long")]
    Long,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Why it is none that may be asked.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        if text.len() > LONGEST {
            return Err(UrlFault::Long);
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(UrlFault::NotOne);
        }
        let url = Url::parse(text).map_err(|_| UrlFault::NotOne)?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                let short: String = other.chars().take(20).collect();
                return Err(UrlFault::Scheme(short));
            }
        };
        let (address, shown) = match url.host() {
            Some(Host::Ipv4(v4)) => (Some(v4.into()), v4.to_string()),
            Some(Host::Ipv6(v6)) => (Some(v6.into()), String::new()),
            Some(Host::Domain(_)) => (None, String::new()),
            None => return Err(UrlFault::NotOne),
        };
        if address.is_some_and(is_refused) {
            return Err(UrlFault::LinkLocal);
        }
        // `http://2130706433/` and `http://0x7f.1/` are 127.0.0.1 to a URL's reader, and to nobody else.
        if !shown.is_empty() && !text.contains(&shown) {
            return Err(UrlFault::Disguised);
        }
        Ok(Self {
            url: Wiped(url),
            tls,
            path_told: false,
        })
    }

    /// The same URL, whose path a trace may tell: it is a resource of an issuer's. Of any other, which
    /// may be a secret as a whole, a trace tells the host.
    #[must_use]
    pub fn with_path_told(self) -> Self {
        Self {
            path_told: true,
            ..self
        }
    }

    /// What a trace tells of it: the host with its port, and the path without the query where it may.
    pub(super) fn told(&self) -> String {
        let url = &self.url.0;
        let mut told = url.host_str().unwrap_or_default().to_owned();
        if let Some(port) = url.port() {
            told.push(':');
            told.push_str(&port.to_string());
        }
        if self.path_told {
            told.push_str(url.path());
        }
        told
    }

    /// The same URL with another step at the end of its path; its query stays.
    #[must_use]
    pub fn below(&self, step: &str) -> Self {
        let mut below = self.clone();
        if let Ok(mut path) = below.url.0.path_segments_mut() {
            path.pop_if_empty().push(step);
        }
        below
    }

    /// The same URL with a path below its own, as `/api/user?limit=1`; a query there takes its own's place.
    #[must_use]
    pub fn path_below(&self, path: &str) -> Self {
        let mut below = self.clone();
        let url = &mut below.url.0;
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let path = path.strip_prefix('/').unwrap_or(path);
        if !path.is_empty()
            && let Ok(mut segments) = url.path_segments_mut()
        {
            segments.pop_if_empty().extend(path.split('/'));
        }
        if query.is_some() {
            url.set_query(query);
        }
        below
    }

    /// Whether it is `https`.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The URL itself, for whoever sends the request.
    pub(super) const fn expose(&self) -> &Url {
        &self.url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_trace_tells_the_path_of_an_issuers_alone() {
        let url = |text: &str| HttpUrl::parse(text).unwrap();
        let hook = url("https://user:pw@hooks.example/T0/s3cret?token=x#y");
        assert_eq!(hook.told(), "hooks.example");
        assert_eq!(hook.below("fail").told(), "hooks.example");
        let issuer = url("http://[::1]:8080/api?token=x").with_path_told();
        assert_eq!(issuer.told(), "[::1]:8080/api");
        let user = issuer.path_below("/v4/user?private=x").below("a/b");
        assert_eq!(user.told(), "[::1]:8080/api/v4/user/a%2Fb");
    }

    #[test]
    fn what_may_be_asked_and_what_may_not() {
        let scheme = |name: &str| Err(UrlFault::Scheme(name.to_owned()));
        for (text, expected) in [
            ("https://hooks.example/x?a=1", Ok(true)),
            ("http://127.0.0.1:8080/", Ok(false)),
            ("http://[::1]/", Ok(false)),
            ("https://10.0.0.1/", Ok(true)),
            ("HTTPS://Example.COM", Ok(true)),
            ("https://u:p@host/", Ok(true)),
            ("file:///etc/passwd", scheme("file")),
            ("htps://host", scheme("htps")),
            ("localhost:80/x", scheme("localhost")),
            ("hooks.example/x", Err(UrlFault::NotOne)),
            ("", Err(UrlFault::NotOne)),
            ("https://", Err(UrlFault::NotOne)),
            ("https://a b/", Err(UrlFault::NotOne)),
            ("https://host/a\tb", Err(UrlFault::NotOne)),
            ("http://169.254.169.254/latest", Err(UrlFault::LinkLocal)),
            ("http://2852039166/", Err(UrlFault::LinkLocal)),
            ("http://0xa9.0xfe.0xa9.0xfe/", Err(UrlFault::LinkLocal)),
            ("http://[fe80::1]/", Err(UrlFault::LinkLocal)),
            ("http://[::ffff:169.254.169.254]/", Err(UrlFault::LinkLocal)),
            ("http://[64:ff9b::a9fe:a9fe]/", Err(UrlFault::LinkLocal)),
            ("http://[fd00:ec2::254]/", Err(UrlFault::LinkLocal)),
            ("http://0.0.0.0/", Err(UrlFault::LinkLocal)),
            ("http://2130706433/", Err(UrlFault::Disguised)),
            ("http://0x7f.1/", Err(UrlFault::Disguised)),
            ("http://127.1/", Err(UrlFault::Disguised)),
        ] {
            let found = HttpUrl::parse(text).map(|url| url.is_tls());
            assert_eq!(found, expected, "{text}");
        }
        let long = format!("https://host/{}", "x".repeat(5000));
        assert_eq!(HttpUrl::parse(&long).unwrap_err(), UrlFault::Long);
    }

    #[test]
    fn a_step_goes_to_the_end_of_the_path_and_before_the_query() {
        for (text, expected) in [
            ("https://hc.example/uuid", "https://hc.example/uuid/start"),
            ("https://hc.example/uuid/", "https://hc.example/uuid/start"),
            (
                "https://hc.example/key/slug?create=1",
                "https://hc.example/key/slug/start?create=1",
            ),
            ("https://hc.example", "https://hc.example/start"),
        ] {
            let url = HttpUrl::parse(text).unwrap().below("start");
            assert_eq!(url.expose().as_str(), expected);
        }
    }

    #[test]
    fn a_path_goes_below_the_url_s_own() {
        for (text, path, expected) in [
            ("https://h", "/user", "https://h/user"),
            ("https://h/", "/user", "https://h/user"),
            (
                "https://h/git/",
                "/api/v1/user",
                "https://h/git/api/v1/user",
            ),
            ("https://h/a?b=1", "/c/", "https://h/a/c/?b=1"),
            ("https://h/a?b=1", "/c?d=2", "https://h/a/c?d=2"),
            ("https://h/a?b=1", "", "https://h/a?b=1"),
            ("https://h/a", "/b/../../c", "https://h/a/b/c"),
        ] {
            let url = HttpUrl::parse(text).unwrap().path_below(path);
            assert_eq!(url.expose().as_str(), expected, "{text} {path}");
        }
    }

    #[test]
    fn a_url_is_printed_by_nothing() {
        let url = HttpUrl::parse("https://hooks.example/T000/secret").unwrap();
        let shown = format!("{url:?}");
        assert!(
            !shown.contains("secret") && !shown.contains("hooks"),
            "{shown}"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(https?://)?[0-9a-zA-Z.:@/?#%\\[\\] é-]{0,30}") {
            if let Ok(url) = HttpUrl::parse(&text) {
                prop_assert!(HttpUrl::parse(url.expose().as_str()).is_ok(), "{}", url.expose());
                prop_assert!(url.below("x").expose().as_str().contains("/x"));
            }
        }
    }
}
