//! HTTP requests to the outside, one at a time, with nothing taken from the environment.
//!
//! No redirect is followed, no proxy is asked but one that is named, no cookie kept, no body unpacked. A server is reached at
//! its address only if that is no link-local one, which is where clouds keep a machine's own
//! credentials; an address is looked at when the URL is read, and again when its name is resolved. TLS
//! trusts what the host trusts. Nothing of all this is opened before the first request.

mod fault;
mod url;

use std::{
    cell::{OnceCell, RefCell},
    fmt, mem,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use chrono::{DateTime, Utc};
use reqwest::{
    Certificate, Client, ClientBuilder, Proxy,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{HeaderMap, HeaderName, HeaderValue},
    redirect::Policy,
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::{effect::process::Stopwatch, id::Timestamp};
pub use fault::Fault;
pub use url::{HttpUrl, UrlFault};

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `DELETE`.
    Delete,
}

impl Method {
    /// As it is sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

impl From<Method> for reqwest::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Get => Self::GET,
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Delete => Self::DELETE,
        }
    }
}

/// A request.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: Method,
    /// Where it goes.
    pub url: &'a HttpUrl,
    /// Headers beyond `Host`, `User-Agent` and `Content-Length`; names in any case.
    pub headers: &'a [(&'a str, SecretString)],
    /// The body, if it has one.
    pub body: Option<&'a [u8]>,
    /// PEM certificates that are trusted beside those of the host.
    pub roots: Option<&'a [u8]>,
    /// How long all of it may take, from the name's resolution to the last byte of the answer.
    pub timeout: Duration,
    /// The most that is read of the answer's body, in bytes; what comes after is left.
    pub body_limit: usize,
}

/// An answer.
pub struct Response {
    /// The status, 100 to 999.
    pub status: u16,
    headers: HeaderMap,
    /// The body, as far as it was read. It may hold a secret, or repeat the request's.
    pub body: SecretSlice<u8>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Response({})", self.status)
    }
}

impl Response {
    /// All headers that are text, in the order in which they came; names are in lower case.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        (self.headers.iter())
            .filter_map(|(name, value)| value.to_str().ok().map(|text| (name.as_str(), text)))
    }

    /// The first value of a header, if it is text. Names are told apart without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The server's time, UTC, from its `Date`.
    pub fn date(&self) -> Option<Timestamp> {
        http_date(self.header("date")?)
    }

    /// When the server asks to be asked again (RFC 9110, 10.2.3): an instant, or so many seconds from `now`.
    pub fn retry_after(&self, now: Timestamp) -> Option<Timestamp> {
        let text = self.header("retry-after")?.trim();
        match text.parse::<u32>() {
            Ok(seconds) => Some(now.plus_seconds(i64::from(seconds))),
            Err(_) => http_date(text),
        }
    }
}

/// A date as HTTP writes it (RFC 9110, 5.6.7), the form that senders must use.
pub fn http_date(text: &str) -> Option<Timestamp> {
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(date.with_timezone(&Utc).into())
}

/// Whether nothing is ever sent to an address: link-local ones (RFC 3927, RFC 4291), what stands
/// for them in IPv6, the metadata address of one cloud, and what is no address of one host.
fn is_refused(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            // ::ffff:0:0/96, and 64:ff9b::/96 of RFC 6052.
            let embedded = match v6.segments() {
                [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
                    let [.., a, b, c, d] = v6.octets();
                    Some(std::net::Ipv4Addr::new(a, b, c, d))
                }
                _ => v6.to_ipv4_mapped(),
            };
            v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6 == std::net::Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
                || embedded.is_some_and(|v4| is_refused(IpAddr::V4(v4)))
        }
    }
}

/// Resolves names as the host does, and drops the addresses that are refused.
struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let found: Vec<SocketAddr> = found.map_err(|_| Fault::Unresolved)?.collect();
            if found.is_empty() {
                return Err(Fault::Unresolved.into());
            }
            let allowed: Vec<SocketAddr> = (found.into_iter())
                .filter(|address| !is_refused(address.ip()))
                .collect();
            if allowed.is_empty() {
                return Err(Fault::LinkLocal.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Sends requests. What it needs is opened by the first of them.
#[derive(Debug, Default)]
pub struct Http {
    proxy: Option<HttpUrl>,
    /// How many connections to a host wait for another request.
    idle: usize,
    plain: OnceCell<Client>,
    tls: OnceCell<Client>,
    /// The URL that was read last: many questions go to one issuer.
    read: RefCell<Option<Box<(SecretString, HttpUrl)>>>,
}

fn built(builder: ClientBuilder) -> Result<Client, Fault> {
    builder.build().map_err(|error| Fault::of(&error))
}

impl Http {
    /// Sends requests over connections that are kept while this is. For many questions to one host, which
    /// may be put again where such a connection ends with one of them unanswered; not for what must be
    /// sent once.
    #[must_use]
    pub fn keeping_connections() -> Self {
        Self {
            idle: 64,
            ..Self::default()
        }
    }

    /// Sends all requests through a proxy, which resolves the names: it may know others than this host.
    #[must_use]
    pub fn through(proxy: HttpUrl) -> Self {
        Self {
            proxy: Some(proxy),
            ..Self::default()
        }
    }

    /// As [`HttpUrl::parse`], which is done once for a URL that comes again and again.
    ///
    /// # Errors
    /// As that.
    pub fn url(&self, text: &str) -> Result<HttpUrl, UrlFault> {
        if let Some((known, url)) = self.read.borrow().as_deref()
            && known.expose_secret() == text
        {
            return Ok(url.clone());
        }
        let url = HttpUrl::parse(text)?;
        self.read
            .replace(Some(Box::new((text.into(), url.clone()))));
        Ok(url)
    }

    fn client(&self, request: &Request<'_>) -> Result<Client, Fault> {
        if let Some(roots) = request.roots {
            let roots = Certificate::from_pem_bundle(roots).map_err(|_| Fault::Roots)?;
            if roots.is_empty() {
                return Err(Fault::Roots);
            }
            return built(self.builder()?.tls_certs_merge(roots));
        }
        let is_tls = request.url.is_tls();
        let cell = if is_tls { &self.tls } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client.clone());
        }
        let builder = self.builder()?;
        let client = built(if is_tls {
            builder.https_only(true)
        } else {
            // The host's roots are many files, which nobody asks for here.
            builder.tls_certs_only([])
        })?;
        Ok(cell.get_or_init(|| client).clone())
    }

    fn builder(&self) -> Result<ClientBuilder, Fault> {
        // Whoever was first has chosen, which is us in this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("lorectl/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .no_proxy()
            .http1_only()
            .pool_max_idle_per_host(self.idle)
            .dns_resolver(Resolver);
        let Some(proxy) = &self.proxy else {
            return Ok(builder);
        };
        let proxy = Proxy::all(proxy.expose().clone()).map_err(|error| Fault::of(&error))?;
        Ok(builder.proxy(proxy))
    }

    /// Sends a request and reads the answer, whatever its status.
    ///
    /// # Errors
    /// Why there is no answer. It names neither the URL nor any part of it.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let watch = Stopwatch::start();
        let answer = self.exchange(request).await;
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return answer;
        }
        let (method, url) = (request.method.as_str(), request.url.told());
        let ms = watch.elapsed_ms();
        match &answer {
            Ok(Response { status, body, .. }) => {
                let bytes = body.expose_secret().len();
                tracing::debug!(method, url, status, bytes, ms, "asked");
            }
            Err(fault) => tracing::debug!(method, url, %fault, ms, "not answered"),
        }
        answer
    }

    async fn exchange(&self, request: &Request<'_>) -> Result<Response, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers {
            let fault = || Fault::Header((*name).to_owned());
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| fault())?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let client = self.client(request)?;
        let mut sent = client
            .request(request.method.into(), request.url.expose().clone())
            .timeout(request.timeout)
            .headers(headers);
        if let Some(body) = request.body {
            sent = sent.body(body.to_vec());
        }
        let mut response = sent.send().await.map_err(|error| Fault::of(&error))?;
        let status = response.status().as_u16();
        let headers = mem::take(response.headers_mut());
        let mut body = Vec::new();
        while body.len() < request.body_limit {
            let chunk = response.chunk().await.map_err(|error| Fault::of(&error))?;
            let Some(chunk) = chunk else { break };
            let room = request.body_limit.saturating_sub(body.len());
            body.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
        }
        Ok(Response {
            status,
            headers,
            body: body.into(),
        })
    }
}

#[cfg(test)]
pub(crate) mod listener;
#[cfg(test)]
mod tests;
