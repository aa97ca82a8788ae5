//! Issuers: where tokens come from, and what each can do.

pub mod github_app;
pub mod gitlab;
pub mod jupyterhub;
pub mod oauth2;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::MintFault;
use crate::{
    effect::http::HttpUrl,
    id::{Digest, Invalid},
};

/// The URL of an issuer. It holds no user, password, query or fragment, and so no secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// The URL as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn url(&self) -> Result<HttpUrl, MintFault> {
        HttpUrl::parse(&self.0).map_err(|_| MintFault::Unsendable("the issuer's URL is none"))
    }

    /// A file name of its own, by which people tell it too: `HOST-PORT-` and twelve hex digits.
    pub fn file_stem(&self) -> String {
        let parsed = url::Url::parse(&self.0).ok();
        let host = parsed.as_ref().and_then(url::Url::host_str);
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        };
        let host: String = host
            .unwrap_or_default()
            .chars()
            .take(64)
            .map(plain)
            .collect();
        let port = parsed.as_ref().and_then(url::Url::port_or_known_default);
        let digest = Digest::of(format!("endpoint\0{}", self.0).as_bytes()).to_string();
        let port = port.unwrap_or_default();
        format!("{host}-{port}-{}", digest.get(..12).unwrap_or_default())
    }
}

impl Endpoint {
    /// Its host and port, as its URL has them: what a trace may tell of it.
    pub fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or(&*self.0, |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        host.rsplit('@').next().unwrap_or_default()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Endpoint {
    type Err = Invalid;

    /// What is wrong is said without quoting it: a password may be in it.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        HttpUrl::parse(text).map_err(|fault| Invalid(fault.to_string()))?;
        let parsed = url::Url::parse(text);
        let url = parsed.map_err(|_| Invalid("that is no URL".to_owned()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Invalid(
                "an issuer's URL holds no user and no password".to_owned(),
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Invalid(
                "an issuer's URL ends before `?` and `#`".to_owned(),
            ));
        }
        Ok(Self(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Where tokens come from. It holds no secret: with which a request is signed is an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Issuer {
    /// OAuth 2 client credentials; signed with the client's secret.
    Oauth2(oauth2::Oauth2),
    /// A GitHub App's installation; signed with the app's private key, PEM.
    GithubApp(github_app::GithubApp),
    /// A GitLab access token that rotates itself; signed with that token.
    Gitlab(gitlab::Gitlab),
    /// A `JupyterHub` user's API token; signed with one that may mint.
    Jupyterhub(jupyterhub::Jupyterhub),
}

/// What a mint whose answer was lost leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A token that ends soon by itself: another is minted.
    Brief,
    /// A token that can be found by its mark and revoked, and then another is minted.
    Marked,
    /// No token at all, for the old one died with it: only a person can make one. The same request once
    /// more would end the lost one too (gitlab-org/gitlab#524639).
    Fatal,
}

impl Issuer {
    /// Where it is asked, for the record of how it answers.
    pub const fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Oauth2(issuer) => &issuer.token_url,
            Self::GithubApp(issuer) => &issuer.base_url,
            Self::Gitlab(issuer) => &issuer.base_url,
            Self::Jupyterhub(issuer) => &issuer.base_url,
        }
    }

    /// What is to be done about a mint whose answer was lost.
    pub const fn loss(&self) -> Loss {
        match self {
            Self::Oauth2(_) | Self::GithubApp(_) => Loss::Brief,
            Self::Gitlab(_) => Loss::Fatal,
            Self::Jupyterhub(_) => Loss::Marked,
        }
    }

    /// Whether the old token lives on beside the new one, until it is revoked or ends.
    pub const fn both_live(&self) -> bool {
        match self.loss() {
            Loss::Brief | Loss::Marked => true,
            Loss::Fatal => false,
        }
    }

    /// Whether it ends a token when it is asked to; else a token lives until its own end.
    pub const fn ends_tokens(&self) -> bool {
        match self {
            Self::Oauth2(issuer) => issuer.revoke_url.is_some(),
            Self::GithubApp(_) | Self::Gitlab(_) | Self::Jupyterhub(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Endpoint>().unwrap_err().to_string()
    }

    #[test]
    fn an_issuer_s_url_holds_no_secret() {
        for text in [
            "https://user@host/",
            "https://user:s3cret@host/x",
            "https://host/?token=s3cret",
            "https://host/#s3cret",
            "s3cret",
            "http://169.254.169.254/s3cret",
        ] {
            assert!(!refused(text).contains("s3cret"), "{text}");
        }
        let endpoint: Endpoint = "HTTPS://Gitlab.Example.com/sub/".parse().unwrap();
        assert_eq!(endpoint.as_str(), "https://gitlab.example.com/sub");
        let json = serde_json::to_string(&endpoint).unwrap();
        assert_eq!(serde_json::from_str::<Endpoint>(&json).unwrap(), endpoint);
        assert!(serde_json::from_str::<Endpoint>("\"https://u:p@h/\"").is_err());
    }

    #[test]
    fn a_file_s_name_follows_from_the_whole_url_and_leads_nowhere() {
        let stem = |text: &str| text.parse::<Endpoint>().unwrap().file_stem();
        let one = stem("https://gitlab.example.com");
        assert!(one.starts_with("gitlab.example.com-443-"), "{one}");
        assert_eq!(one.len(), "gitlab.example.com-443-".len() + 12);
        assert_ne!(one, stem("https://gitlab.example.com/other"));
        assert_ne!(one, stem("http://gitlab.example.com:443"));
        let long = format!("https://{}.example", "a.".repeat(100));
        for text in [
            "http://[::1]:8080/../../x",
            "https://host/%2e%2e/%2f",
            &long,
        ] {
            let stem = stem(text);
            assert!(!stem.contains('/') && stem.len() < 100, "{stem}");
        }
    }
}
