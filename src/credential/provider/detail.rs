//! What a list of tokens says of one of them: a pure function of the table and the answer.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha512};

use super::{
    judge::{Answer, end, scoped, there},
    table::{Detail, Own, Provider, Sign},
};
use crate::credential::{
    finding::{Finding, Status},
    key::hex,
};

/// Fewer characters of a token could be another's too.
const LEAST: usize = 12;

impl Provider {
    /// What was found of a live token, with what its row in the list of the second request says. Where
    /// there is no row that is surely its own, nothing is taken from the list. The token stays live, unless
    /// its row says an end that cannot be read.
    pub fn add_detail(
        &self,
        mut finding: Finding,
        answer: &Answer<'_>,
        wanted: &BTreeSet<String>,
    ) -> Finding {
        let Some(detail) = &self.detail else {
            return finding;
        };
        let row = match detail.row(answer) {
            Ok(row) => row,
            Err(why) => return Self::without_detail(finding, &why),
        };
        let scopes = detail.scopes.as_ref().filter(|_| finding.scopes.is_none());
        if let Some(rule) = scopes {
            finding.scopes = rule.read(answer, Some(&row), wanted, &answer.echo());
            if finding.status == Status::Live {
                scoped(&mut finding, &BTreeSet::new(), wanted);
            }
        }
        if finding.expiry.is_none() {
            end(&detail.expiry, &mut finding, answer, Some(&row));
        }
        finding
    }

    /// What was found of a live token of which no list tells more this time, and why not.
    pub(super) fn without_detail(mut finding: Finding, why: &str) -> Finding {
        let why = || format!("its issuer's list of tokens does not tell its end: {why}");
        finding.detail = finding.detail.or_else(|| Some(why()));
        finding.partial = true;
        finding
    }
}

impl Detail {
    /// The row of the token that was asked about; else why none is taken.
    fn row(&self, answer: &Answer<'_>) -> Result<Value, String> {
        const NONE: &str = "no row is surely its own";
        if answer.status != 200 {
            return Err(format!("HTTP {}", answer.status));
        }
        if !answer.whole {
            return Err("it is too long".to_owned());
        }
        let json = answer.json();
        let list = json.as_ref().and_then(|json| json.pointer(&self.list));
        let Some(rows) = list.and_then(Value::as_array) else {
            return Err("what is answered is none".to_owned());
        };
        for own in &self.own {
            let mut fitting = rows.iter().filter(|row| own.is_of(row, answer.token));
            match (fitting.next(), fitting.next()) {
                (None, _) => {}
                (Some(row), None) => return Ok(row.clone()),
                (Some(_), Some(_)) => return Err(NONE.to_owned()),
            }
        }
        Err(NONE.to_owned())
    }
}

impl Own {
    fn is_of(&self, row: &Value, token: &SecretString) -> bool {
        let Some(said) = there(row, &self.at).and_then(Value::as_str) else {
            return false;
        };
        let token = token.expose_secret().trim();
        match self.holds {
            Sign::Sha512 => said.eq_ignore_ascii_case(&hex(&Sha512::digest(token.as_bytes()))),
            Sign::Ends => {
                let Some((begin, end)) = said.split_once("...").or_else(|| said.split_once('…'))
                else {
                    return false;
                };
                let end = end.trim_start_matches('.');
                let seen = begin.len() + end.len();
                seen >= LEAST
                    && seen < token.len()
                    && !end.is_empty()
                    && token.starts_with(begin)
                    && token.ends_with(end)
            }
        }
    }
}
