//! Why there is no answer, in words that hold nothing of the URL.

use std::{error::Error as _, io};

use rustls::CertificateError;

/// Why there is no answer.
///
/// A URL may be a secret, host and all, and the texts of the libraries below quote it: so none of
/// them gets through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its name stands for no address.
    #[error("the host's name cannot be resolved")]
    Unresolved,
    /// Its name stands for link-local addresses only.
    #[error("the host's address is link-local, and nothing is sent there")]
    LinkLocal,
    /// It took too long.
    #[error("no answer in time")]
    TimedOut,
    /// Nobody took the connection.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// Nobody could be trusted.
    #[error("no trust: {0}")]
    NotTrusted(&'static str),
    /// The extra certificates cannot be read.
    #[error("the file of trusted certificates holds no PEM certificate")]
    Roots,
    /// The name or the value of that header cannot be sent.
    #[error("the header `{0}` cannot be sent as it is")]
    Header(String),
    /// It ended in the middle, or was no HTTP.
    #[error("the connection broke off, or what came was no HTTP")]
    Broken,
}

/// What is said where TLS itself failed, which it may do after the request went out: TLS 1.3 lets a
/// server refuse a client only then.
const TLS_FAILED: &str = "TLS failed, or the server does not speak it";

impl Fault {
    /// Whether it is sure that nothing of the request was sent. Where it is not, the server may have
    /// carried it out.
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Unresolved
            | Self::LinkLocal
            | Self::NotConnected(_)
            | Self::Roots
            | Self::Header(_) => true,
            Self::NotTrusted(why) => *why != TLS_FAILED,
            Self::TimedOut | Self::Broken => false,
        }
    }

    /// What an error of the library means.
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut io_kind = None;
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(known) = error.downcast_ref::<Self>() {
                return known.clone();
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return Self::NotTrusted(trust(tls));
            }
            let io = error.downcast_ref::<io::Error>();
            io_kind = io.map(io::Error::kind).or(io_kind);
            // An error of the system that was made from another hides it from `source`.
            cause = match io.and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        match io_kind {
            _ if error.is_timeout() => Self::TimedOut,
            Some(kind) if error.is_connect() => Self::NotConnected(kind.to_string()),
            None if error.is_connect() => Self::NotConnected("it was refused".to_owned()),
            None if error.is_builder() => {
                Self::NotTrusted("this host has no trusted certificates (install ca-certificates)")
            }
            Some(_) | None => Self::Broken,
        }
    }
}

fn trust(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the server's certificate is not valid yet"
            }
            CertificateError::UnknownIssuer => {
                "the server's certificate is of an authority that this host does not know"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the server's certificate is for another name"
            }
            // The list is the library's to extend.
            _ => "the server's certificate is not valid",
        },
        rustls::Error::General(_) => {
            "this host has no trusted certificates (install ca-certificates)"
        }
        _ => TLS_FAILED,
    }
}
